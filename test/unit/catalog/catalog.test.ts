import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import type { ContainerRecord, TemplateRecord } from '../../../src/catalog/records.js';
import { StorePaths } from '../../../src/core/store-paths.js';
import { DIGEST, temporaryFolder, temporaryStore } from './temporary-store.js';

const TEMPLATE: TemplateRecord = {
  name: 'debian',
  version: 1,
  tree: DIGEST,
  files: 10,
  bytes: 1000,
  created: '2026-01-01T00:00:00.000Z',
  source: 'folder /srv',
  definition: null,
};
const CONTAINER: ContainerRecord = { name: 'c1', template: 'debian', tree: DIGEST, created: TEMPLATE.created, mountpoint: null };

function fill(paths: StorePaths): void {
  using catalog = Catalog.open(paths, 'write');
  catalog.putTemplate(TEMPLATE);
  catalog.putContainer(CONTAINER);
}

describe('Catalog', () => {
  test('gives back what was put', () => {
    const paths = temporaryStore();
    fill(paths);
    using catalog = Catalog.open(paths, 'write');
    expect(catalog.templates()).toEqual([TEMPLATE]);
    expect(catalog.containers()).toEqual([CONTAINER]);
    expect(catalog.containersOf('debian')).toEqual(['c1']);
    catalog.putTemplate({ ...TEMPLATE, version: 2 });
    expect(catalog.template('debian')?.version).toBe(2);
    catalog.setMountpoint('c1', '/mnt');
    expect(catalog.container('c1')?.mountpoint).toBe('/mnt');
    expect(catalog.removeContainer('c1')).toBe(true);
    expect(catalog.removeContainer('c1')).toBe(false);
    expect(catalog.check()).toEqual([]);
  });

  test('keeps a template that a container names', () => {
    const paths = temporaryStore();
    fill(paths);
    using catalog = Catalog.open(paths, 'write');
    expect(() => catalog.removeTemplate('debian')).toThrow(/FOREIGN KEY/);
    expect(() => { catalog.putContainer({ ...CONTAINER, name: 'c2', template: 'none' }); }).toThrow(/FOREIGN KEY/);
  });

  test('rolls a transaction back when it throws', () => {
    using catalog = Catalog.open(temporaryStore(), 'write');
    expect(() => {
      catalog.transaction(() => {
        catalog.putTemplate(TEMPLATE);
        throw new Error('no');
      });
    }).toThrow('no');
    expect(catalog.templates()).toEqual([]);
  });

  test('remembers what a process was in the middle of', () => {
    using catalog = Catalog.open(temporaryStore(), 'write');
    const id = catalog.beginJournal('create-container', 'c1');
    expect(catalog.journal()).toMatchObject([{ id, operation: 'create-container', subject: 'c1', pid: process.pid }]);
    catalog.endJournal(id);
    expect(catalog.journal()).toEqual([]);
  });

  test('reads as empty where there is no store, and makes none', () => {
    const paths = new StorePaths(join(temporaryFolder(), 'none'));
    using catalog = Catalog.open(paths, 'read');
    expect(catalog.containers()).toEqual([]);
    expect(() => readdirSync(paths.store)).toThrow(/ENOENT/);
  });

  test.each([
    ['is not a database', (path: string) => { writeFileSync(path, 'garbage '.repeat(1000)); }],
    ['is empty', (path: string) => { truncateSync(path, 0); }],
    ['is missing', (path: string) => { rmSync(path); }],
    ['is cut short', (path: string) => { truncateSync(path, 4096); }],
    [
      'has broken pages',
      (path: string) => {
        const bytes = readFileSync(path);
        bytes.fill(0xa5, 4096);
        writeFileSync(path, bytes);
      },
    ],
  ])('a catalog that %s is named, with what to do', (_what, damage) => {
    const paths = temporaryStore();
    fill(paths);
    writeFileSync(paths.templateRecord('debian'), 'something');
    damage(paths.catalog);
    for (const mode of ['read', 'write'] as const) {
      const use = (): void => {
        using catalog = Catalog.open(paths, mode);
        catalog.containers();
        catalog.templates();
      };
      expect(use, mode).toThrow(
        expect.objectContaining({ code: 'BAD_CATALOG', hint: expect.stringContaining('templatefs catalog rebuild') as string }),
      );
    }
  });

  test.skipIf(process.getuid?.() !== 0)('a store that is mounted read-only can be read, and says that it cannot be written', () => {
    const paths = temporaryStore();
    fill(paths);
    // With a WAL that was not folded back, as a crash leaves it.
    const writer = Catalog.open(paths, 'write');
    writer.putContainer({ ...CONTAINER, name: 'c2' });
    const readOnly = temporaryFolder();
    mkdirSync(join(readOnly, 'store'));
    const at = join(readOnly, 'store');
    execFileSync('mount', ['--bind', paths.store, at]);
    onTestFinished(() => { execFileSync('umount', [at]); });
    execFileSync('mount', ['-o', 'remount,bind,ro', at]);
    const seen = new StorePaths(at);
    {
      using catalog = Catalog.open(seen, 'read');
      expect(catalog.containers().map(({ name }) => name)).toEqual(['c1', 'c2']);
    }
    expect(() => Catalog.open(seen, 'write')).toThrow(expect.objectContaining({ code: 'STORE_NOT_WRITABLE' }));
    writer.close();
  });
});

test('of many samples the older half is thinned, the first and the newest stay', () => {
  using catalog = Catalog.open(temporaryStore(), 'write');
  for (let at = 0; at < 100; at += 1) {
    catalog.addSample({ taken: String(at), reason: 'stats', containers: 1, logical: at, stored: 1, objects: 1, private: 0, linked: 0, resident: null, unshared: null }, 20);
    expect(catalog.samples().length).toBeLessThanOrEqual(20);
  }
  const taken = catalog.samples().map((one) => Number(one.taken));
  expect(taken[0]).toBe(0);
  expect(taken.slice(-10)).toEqual([90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
  expect(taken).toEqual([...taken].sort((a, b) => a - b));
});
