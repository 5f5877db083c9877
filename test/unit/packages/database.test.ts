import Database from 'better-sqlite3';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareVersions } from '../../../src/packages/compare-versions.js';
import { DatabaseUnreadable, openPackageDatabase, type DatabaseFiles } from '../../../src/packages/database/package-database.js';
import { RpmHeader } from '../../../src/packages/database/rpm-header.js';
import { parsePackageQuery } from '../../../src/service/query-packages.js';
import { temporaryFolder } from '../catalog/temporary-store.js';

function filesOf(files: Readonly<Record<string, string | Buffer>>): DatabaseFiles {
  return {
    read: (path) => (files[path] === undefined ? undefined : Buffer.from(files[path])),
    names: (folder) => Object.keys(files).filter((path) => path.startsWith(`${folder}/`)).map((path) => path.slice(folder.length + 1)),
  };
}

/** A header as rpm stores it. */
function header(tags: readonly (readonly [tag: number, value: string | readonly string[] | readonly number[]])[]): Buffer {
  const entries: Buffer[] = [];
  let data = Buffer.alloc(0);
  for (const [tag, value] of tags) {
    const isNumbers = typeof value !== 'string' && typeof value[0] === 'number';
    if (isNumbers) data = Buffer.concat([data, Buffer.alloc((4 - (data.length % 4)) % 4)]);
    const entry = Buffer.alloc(16);
    entry.writeInt32BE(tag);
    entry.writeUInt32BE(typeof value === 'string' ? 6 : isNumbers ? 4 : 8, 4);
    entry.writeUInt32BE(data.length, 8);
    entry.writeUInt32BE(typeof value === 'string' ? 1 : value.length, 12);
    entries.push(entry);
    const list = typeof value === 'string' ? [value] : value;
    const bytes = list.map((one) => {
      if (typeof one === 'string') return Buffer.from(`${one}\0`);
      const number = Buffer.alloc(4);
      number.writeUInt32BE(one);
      return number;
    });
    data = Buffer.concat([data, ...bytes]);
  }
  const start = Buffer.alloc(8);
  start.writeUInt32BE(entries.length);
  start.writeUInt32BE(data.length, 4);
  return Buffer.concat([start, ...entries, data]);
}

const SAMPLE = header([
  [1000, 'sample'], [1001, '1.2'], [1002, '3'], [1003, [4]], [1022, 'noarch'], [1116, [0, 1, 1]], [1117, ['a', 'b', 'c']], [1118, ['/usr/bin/', '/']],
]);

function sqlite(sql: readonly string[], blobs: readonly Buffer[] = []): Buffer {
  const folder = temporaryFolder();
  const file = join(folder, 'made.sqlite');
  const database = new Database(file);
  for (const one of sql) database.exec(one);
  for (const blob of blobs) database.prepare('INSERT INTO Packages (blob) VALUES (?)').run(blob);
  database.close();
  const bytes = readFileSync(file);
  rmSync(file);
  return bytes;
}

const TABLE = 'CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)';

describe('dpkg', () => {
  test('packages that are there, in whatever state; not those that were removed, nor what makes no sense', () => {
    const status = [
      'Package: a\nStatus: install ok installed\nVersion: 1:2.0-1\nArchitecture: amd64\nDescription: text\n more\n .\n Package: no',
      'Package: half\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all',
      'Package: conf\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all',
      'Package: none\nVersion: 1', 'Package: bad name\nStatus: install ok installed\nVersion: 1', 'Package: v\nStatus: install ok installed\nVersion: $(id)',
    ].join('\n\n');
    const database = openPackageDatabase(filesOf({ '/var/lib/dpkg/status': status, '/var/lib/dpkg/info/a:amd64.list': '/.\n/usr\n/usr/a\n' }));
    expect(database?.packages).toEqual([{ name: 'a', version: '1:2.0-1', architecture: 'amd64' }, { name: 'half', version: '1', architecture: 'all' }]);
    expect(database?.packages.map((one) => database.filesOf(one))).toEqual([['/usr', '/usr/a'], []]);
  });

  test('an image without dpkg has a file for each package', () => {
    const database = openPackageDatabase(filesOf({ '/var/lib/dpkg/status.d/base': 'Package: base-files\nVersion: 12.4\nArchitecture: amd64\n', '/var/lib/dpkg/status.d/base.md5sums': 'x' }));
    expect(database?.packages).toEqual([{ name: 'base-files', version: '12.4', architecture: 'amd64' }]);
  });
});

describe('rpm', () => {
  test('packages and files of a database in SQLite', () => {
    const database = openPackageDatabase(filesOf({ '/usr/lib/sysimage/rpm/rpmdb.sqlite': sqlite([TABLE], [SAMPLE, header([[1000, 'gpg-pubkey'], [1001, 'x']]), Buffer.from('rubbish')]) }));
    expect(database?.rules).toBe('rpm');
    expect(database?.packages).toEqual([{ name: 'sample', version: '4:1.2-3', architecture: 'noarch' }]);
    expect(database?.packages.map((one) => database.filesOf(one))).toEqual([['/usr/bin/a', '/b', '/c']]);
  });

  test.each([
    ['a view that never ends', () => sqlite(['CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT 1 UNION ALL SELECT blob + 1 FROM n) SELECT blob FROM n'])],
    ['something else', () => sqlite(['CREATE TABLE other (a)'])],
    ['no database', () => Buffer.from('SQLite format 3\0'.padEnd(4096, 'x'))],
  ])('%s is refused', (_what, make) => {
    const files = filesOf({ '/var/lib/rpm/rpmdb.sqlite': make() });
    expect(() => openPackageDatabase(files)).toThrow(DatabaseUnreadable);
  });

  test('an older form is told from none', () => {
    expect(() => openPackageDatabase(filesOf({ '/var/lib/rpm/Packages.db': 'ndb' }))).toThrow(DatabaseUnreadable);
    expect(openPackageDatabase(filesOf({}))).toBeUndefined();
  });

  test('a header that was changed anywhere breaks nothing', () => {
    for (let at = 0; at < SAMPLE.length; at += 1) {
      for (const value of [0, 0x7f, 0xff]) {
        const changed = Buffer.from(SAMPLE);
        changed[at] = value;
        const parsed = RpmHeader.parse(changed);
        expect(() => [parsed?.package(), parsed?.files()]).not.toThrow();
      }
    }
    for (let length = 0; length < SAMPLE.length; length += 1) expect(RpmHeader.parse(SAMPLE.subarray(0, length))).toBeUndefined();
  });
});

describe('versions', () => {
  test('are compared by dpkg', async () => {
    const found = await compareVersions('dpkg', ['1.0', '1.0~rc1', '1:0.1', '1.0-0', '0.9.9', 'no version; $(id)'], '1.0');
    expect(Object.fromEntries(found)).toEqual({ '1.0': 0, '1.0~rc1': -1, '1:0.1': 1, '1.0-0': 0, '0.9.9': -1 });
  });

  test('are compared by rpm, without a release where the other has none', async () => {
    const found = await compareVersions('rpm', ['1.0-7', '1.0~rc1-1', '1:0.1-1', '1.0^git1-1', '1.10-1', '%{quit}'], '1.0');
    expect(Object.fromEntries(found)).toEqual({ '1.0-7': 0, '1.0~rc1-1': -1, '1:0.1-1': 1, '1.0^git1-1': 1, '1.10-1': 1 });
    expect((await compareVersions('rpm', ['1.0-7'], '1.0-8')).get('1.0-7')).toBe(-1);
  });

  test('a query is read in every spelling', () => {
    expect(parsePackageQuery('openssl')).toEqual({ name: 'openssl', version: null });
    expect(parsePackageQuery(' libstdc++6 << 12.2 ')).toEqual({ name: 'libstdc++6', version: { relation: '<', other: '12.2' } });
    expect(parsePackageQuery('a==1:2~b-3')).toEqual({ name: 'a', version: { relation: '=', other: '1:2~b-3' } });
    for (const text of ['', '<1', 'a<', 'a=<1', 'a<-1', 'a<1 2', 'a<$(id)', "a<1'"]) expect(() => parsePackageQuery(text), text).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
