import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatContainerdFile, parseContainerdFile, type ContainerdFile } from '../../../src/catalog/containerd-file.js';
import { TemplatefsError } from '../../../src/core/errors.js';
import { StorePaths } from '../../../src/core/store-paths.js';
import { ContainerdRecords } from '../../../src/snapshotter/records.js';

const RECORD: ContainerdFile = {
  id: 7, kind: 'committed', key: 'default/5/ключ %\n sha256:1', parent: 'default/4/sha256:2',
  created: { seconds: 1_795_300_000, nanoseconds: 1 }, updated: { seconds: 1_795_300_001, nanoseconds: 999_999_999 },
  labels: new Map([['containerd.io/snapshot.ref', 'sha256:1'], ['with space = "', '\0'], ['__proto__', 'x']]), usageBytes: 4096, usageInodes: 2,
};

let paths: StorePaths;
beforeEach(() => { paths = new StorePaths(mkdtempSync(join(tmpdir(), 'templatefs-records-test-'))); });
afterEach(() => { rmSync(paths.store, { recursive: true, force: true }); });

describe('a record', () => {
  test('is read as it was written', () => {
    expect(parseContainerdFile(formatContainerdFile(RECORD), 7, 'x')).toEqual(RECORD);
  });

  test.each([
    ['', 'not a record'],
    ['templatefs-container 1\n', 'not a record'],
    ['templatefs-containerd 2\n', 'version 2'],
    [formatContainerdFile(RECORD).slice(0, -1), 'cut short'],
    [formatContainerdFile(RECORD).replace('kind committed', 'kind other'), 'unknown kind'],
    [formatContainerdFile(RECORD).replace(/^key .*\n/m, ''), 'no line for key'],
    [formatContainerdFile(RECORD).replace(/^key .*$/m, 'key '), 'key is empty'],
    [formatContainerdFile(RECORD).replace(/^created .*$/m, 'created yesterday'), 'created is no time'],
    [formatContainerdFile(RECORD).replace(/^usage .*$/m, 'usage -1 2'), 'usage is not two numbers'],
    [formatContainerdFile(RECORD).replace(/^label .*$/m, 'label ["a"]'), 'no pair'],
    [formatContainerdFile(RECORD).replace(/^label .*$/m, 'label ["a",1]'), 'no pair of texts'],
    [formatContainerdFile(RECORD).replace(/^label .*$/m, 'label {'), 'no JSON'],
  ])('%j is refused', (text, why) => {
    expect(() => parseContainerdFile(text, 7, '/store/containerd/7')).toThrow(expect.objectContaining({ code: 'INTEGRITY', message: expect.stringMatching(`^/store/containerd/7: .*${why}`) as string }));
  });
});

describe('the records of a store', () => {
  const record = (id: number, key: string, more: Partial<ContainerdFile> = {}): ContainerdFile => ({ ...RECORD, id, key, parent: '', labels: new Map(), ...more });

  test('outlive the process, with children and ids', () => {
    const records = new ContainerdRecords(paths, [3]);
    expect(records.nextId()).toBe(4);
    const base = record(4, 'base');
    const child = record(records.nextId(), 'child', { kind: 'active', parent: 'base' });
    records.put(base);
    records.put(child);
    // A commit: the same snapshot by another key.
    records.put({ ...child, kind: 'committed', key: 'layer' }, child);
    writeFileSync(join(paths.containerdRecords, '9.tmp-1'), 'templatefs-cont');

    const found = new ContainerdRecords(paths, []);
    expect([...found.all()].map(({ id, key, kind }) => `${id} ${key} ${kind}`).sort()).toEqual(['4 base committed', '5 layer committed']);
    expect(found.get('child')).toBeUndefined();
    expect([found.hasChildren('base'), found.hasChildren('layer')]).toEqual([true, false]);
    expect(found.nextId()).toBe(6);
    found.remove(record(5, 'layer', { parent: 'base' }));
    expect(found.hasChildren('base')).toBe(false);
    expect(readdirSync(paths.containerdRecords)).toEqual(['4']);
  });

  test('are not begun with when one cannot be read', () => {
    new ContainerdRecords(paths, []).put(record(1, 'a'));
    writeFileSync(paths.containerdRecord(2), 'templatefs-containerd 1\nkind active\n');
    const error = (() => {
      try {
        return new ContainerdRecords(paths, []);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(TemplatefsError);
    expect(error).toMatchObject({ code: 'INTEGRITY', message: expect.stringContaining(paths.containerdRecord(2)) as string, hint: expect.stringMatching(/backup/) as string });
  });
});
