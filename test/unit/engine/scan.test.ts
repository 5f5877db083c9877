import { describe, expect, test } from 'vitest';
import { TemplatefsError } from '../../../src/core/errors.js';
import { StorePaths } from '../../../src/core/store-paths.js';
import { ScanParser, scanPrivateAreas, type ScanRecord } from '../../../src/engine/scan.js';
import { scriptEngine } from './script-engine.js';

const FILE = ['file', '/etc/x', '268435456', '100644 1000 1001', '5', '4096', '1700000000.000000001', '-', '-', '1'];
const LINK = ['link', '/usr/\xff\n', '17', '100755 0 0', '9', '0', '-1.5', '16', 'ab'.repeat(16) + '.2', '2'];

function encode(...records: readonly (readonly string[])[]): Buffer {
  return Buffer.from(records.map((fields) => `${fields.join('\0')}\0\0`).join(''), 'latin1');
}

function parse(bytes: Buffer, pieceBytes = bytes.length): ScanRecord[] {
  const records: ScanRecord[] = [];
  const parser = new ScanParser({ onRecord: (record) => records.push(record) });
  for (let at = 0; at < bytes.length; at += pieceBytes) parser.push(bytes.subarray(at, at + pieceBytes));
  parser.end();
  return records;
}

describe('ScanParser', () => {
  test('reads records, names as bytes', () => {
    expect(parse(encode(FILE, LINK))).toEqual([
      {
        kind: 'file', path: '/etc/x', inode: 268435456, mode: 0o100644, uid: 1000, gid: 1001, sizeBytes: 5,
        allocatedBytes: 4096, mtimeSeconds: 1700000000, mtimeNanoseconds: 1, origin: null, object: null, links: 1,
      },
      {
        kind: 'link', path: '/usr/\xff\n', inode: 17, mode: 0o100755, uid: 0, gid: 0, sizeBytes: 9,
        allocatedBytes: 0, mtimeSeconds: -1, mtimeNanoseconds: 5, origin: 16, object: 'ab'.repeat(16) + '.2', links: 2,
      },
    ]);
    expect(parse(Buffer.alloc(0))).toEqual([]);
  });

  test('takes pieces of any size', () => {
    const bytes = encode(FILE, LINK, FILE);
    for (let size = 1; size < 40; size++) expect(parse(bytes, size)).toHaveLength(3);
  });

  test('takes an inode that has no name any more', () => {
    expect(parse(encode(FILE.with(1, 'inode:10000003')))[0]?.path).toBe('inode:10000003');
  });

  test.each([
    ['an unknown kind', FILE.with(0, 'door')],
    ['a path that is none', FILE.with(1, 'etc/x')],
    ['an inode that is no number', FILE.with(2, '-1')],
    ['two owners', FILE.with(3, '644 0')],
    ['a mode that is not octal', FILE.with(3, '9x 0 0')],
    ['a size beyond what can be counted', FILE.with(4, '9'.repeat(20))],
    ['a time without a point', FILE.with(6, '17')],
    ['an object that is none', FILE.with(8, '../../etc/passwd')],
    ['too few fields', FILE.slice(1)],
    ['too many fields', [...FILE, '1']],
  ])('refuses %s', (_what, fields) => {
    expect(() => parse(encode(fields))).toThrow();
  });

  test('refuses an end within a record', () => {
    const bytes = encode(FILE, LINK);
    expect(() => parse(bytes.subarray(0, -1))).toThrow(/ends within/);
    expect(() => parse(bytes.subarray(0, -8))).toThrow(/ends within/);
  });

  test('refuses bytes without end', () => {
    expect(() => parse(Buffer.alloc(2 * 1024 * 1024, 'x'), 65536)).toThrow(/does not end/);
  });
});

describe('scanPrivateAreas', () => {
  /** What `printf` makes of the records in the script below. */
  const shell = (...records: readonly (readonly string[])[]): string => `printf '${records.map((fields) => `${fields.join('\\000')}\\000\\000`).join('')}'`;
  const PLAIN = FILE.with(1, '/plain');

  async function scan(containers: readonly string[]): Promise<[string, string][]> {
    const found: [string, string][] = [];
    await scanPrivateAreas(new StorePaths('/store'), containers, undefined, (container, records) => {
      found.push([container, records instanceof TemplatefsError ? `${records.code}: ${records.message}` : records.map(({ path }) => path).join(' ')]);
    });
    return found;
  }

  test('tells what each has, and of which it cannot be told', async () => {
    scriptEngine(shell(FILE, ['end', 'a', '-', '-'], PLAIN, ['end', 'b', 'INTEGRITY', 'b is broken'], ['end', 'c', '-', '-']));
    expect(await scan(['a', 'b', 'c'])).toEqual([['a', '/etc/x'], ['b', 'INTEGRITY: b is broken'], ['c', '']]);
  });

  test('takes a single one without an end', async () => {
    scriptEngine(shell(FILE, PLAIN));
    expect(await scan(['a'])).toEqual([['a', '/etc/x /plain']]);
    scriptEngine('echo "templatefs-engine: CONTAINER_NOT_FOUND: no container a" >&2; exit 10');
    expect(await scan(['a'])).toEqual([['a', 'CONTAINER_NOT_FOUND: no container a']]);
    expect(await scan([])).toEqual([]);
  });

  test('takes nothing for whole that a killed engine has not ended', async () => {
    scriptEngine(`${shell(FILE, ['end', 'a', '-', '-'], PLAIN)}; kill -KILL $$`);
    const lost = 'ENGINE_FAILED: templatefs-engine scan ended by SIGKILL';
    expect(await scan(['a', 'b', 'c'])).toEqual([['a', '/etc/x'], ['b', lost], ['c', lost]]);
  });

  test('takes no answer for that of another', async () => {
    scriptEngine(shell(['end', 'b', '-', '-'], ['end', 'a', '-', '-']));
    expect((await scan(['a', 'b'])).map(([container, text]) => [container, /wrote what cannot be read/.test(text)])).toEqual([['a', true], ['b', true]]);
    scriptEngine(shell(FILE));
    expect((await scan(['a', 'b'])).every(([, text]) => /nothing of a, b/.test(text))).toBe(true);
  });
});
