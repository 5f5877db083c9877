import { describe, expect, onTestFinished, test } from 'vitest';
import type { ScanRecord } from '../../../src/engine/scan.js';
import { privateSums } from '../../../src/service/private-sums.js';
import { PrivateView } from '../../../src/service/private-view.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { temporaryStore } from '../catalog/temporary-store.js';
import { EXAMPLE_BYTES, NODES, exampleTree } from './store-with-template.js';

let nextInode = 2 ** 28;

function record(kind: ScanRecord['kind'], path: string, values: Partial<ScanRecord> = {}): ScanRecord {
  const mode = { file: 0o100644, link: 0o100644, dir: 0o040755, merged: 0o040755, whiteout: 0o020000, symlink: 0o120777 }[kind as string] ?? 0o010644;
  const inode = values.origin === undefined || values.origin === null ? nextInode++ : values.origin + 1;
  return {
    kind, path, inode, mode, uid: 0, gid: 0, sizeBytes: 0, allocatedBytes: 0, mtimeSeconds: 1000, mtimeNanoseconds: 0,
    origin: null, object: null, links: 1, ...values,
  };
}

function view(...records: ScanRecord[]): PrivateView {
  const paths = temporaryStore();
  const reader = TreeReader.open(paths.tree(writeTree(paths, exampleTree()).digest));
  onTestFinished(() => { reader.close(); });
  return new PrivateView(reader, records);
}

/** Changes in one line each. */
function lines(...records: ScanRecord[]): string[] {
  return view(...records).changes().map(({ letter, path, change, type, from }) => `${letter} ${path} ${change} ${type}${from === undefined ? '' : ` ${from}`}`);
}

const object = (size: number): string => size.toString(16).padStart(32, '0');
const etc = record('merged', '/etc', { origin: NODES.etc });

describe('changes', () => {
  test('an untouched container has none', () => {
    expect(lines()).toEqual([]);
    expect(view().logicalBytes()).toBe(EXAMPLE_BYTES);
    expect(lines(record('merged', '/', { origin: NODES.root }))).toEqual([]);
  });

  test('new files and folders are added', () => {
    const records = [etc, record('file', '/etc/new', { sizeBytes: 5 }), record('dir', '/opt'), record('file', '/opt/\xff', { sizeBytes: 6 })];
    expect(lines(...records)).toEqual(['A /etc/new added file', 'A /opt added dir', 'A /opt/\\xff added file']);
    expect(view(...records).logicalBytes()).toBe(EXAMPLE_BYTES + 11);
  });

  test('a copy with other content is changed, one with the same object has other metadata', () => {
    const written = record('file', '/etc/hosts', { origin: NODES.hosts, sizeBytes: 12 });
    const owned = record('link', '/etc/passwd', { origin: NODES.passwd, sizeBytes: 20, object: object(20), mode: 0o100600 });
    expect(lines(etc, written, owned)).toEqual(['C /etc/hosts changed file', 'C /etc/passwd metadata file']);
    expect(view(etc, written, owned).logicalBytes()).toBe(EXAMPLE_BYTES + 2);
    expect(lines(etc, { ...owned, object: object(10) })).toEqual(['C /etc/passwd changed file']);
  });

  test('a folder counts when its own metadata differ', () => {
    expect(lines({ ...etc, mtimeSeconds: 1001 })).toEqual(['C /etc metadata dir']);
    expect(lines({ ...etc, uid: 7 })).toEqual(['C /etc metadata dir']);
  });

  test('a whiteout deletes what the tree has there, with all that is in it', () => {
    expect(lines(etc, record('whiteout', '/etc/hosts'))).toEqual(['D /etc/hosts deleted file']);
    expect(view(etc, record('whiteout', '/etc/hosts')).logicalBytes()).toBe(EXAMPLE_BYTES - 10);
    expect(lines(record('whiteout', '/etc'))).toEqual(['D /etc deleted dir']);
    expect(view(record('whiteout', '/etc')).logicalBytes()).toBe(EXAMPLE_BYTES - 30);
    expect(lines(record('whiteout', '/never-was'))).toEqual([]);
  });

  test('a hard link is gone with its last name only', () => {
    const bin = record('merged', '/usr/bin', { origin: NODES.bin });
    const usr = record('merged', '/usr', { origin: NODES.usr });
    const one = [usr, bin, record('whiteout', '/usr/bin/perl')];
    expect(view(...one).logicalBytes()).toBe(EXAMPLE_BYTES);
    expect(view(...one, record('whiteout', '/usr/bin/perl5')).logicalBytes()).toBe(EXAMPLE_BYTES - 40);
  });

  test('a changed hard link is changed under all its names, and counted once', () => {
    const changed = record('file', '/usr/bin/perl', { origin: NODES.perl, sizeBytes: 41, links: 2 });
    expect(lines(changed)).toEqual(['C /usr/bin/perl changed file', 'C /usr/bin/perl5 changed file']);
    expect(view(changed).logicalBytes()).toBe(EXAMPLE_BYTES + 1);
  });

  test('a renamed folder keeps what is in it', () => {
    const moved = [record('whiteout', '/etc'), record('merged', '/conf', { origin: NODES.etc })];
    expect(lines(...moved)).toEqual(['A /conf renamed dir /etc', 'D /etc deleted dir']);
    expect(view(...moved).logicalBytes()).toBe(EXAMPLE_BYTES);
    const less = [...moved, record('whiteout', '/conf/hosts')];
    expect(lines(...less)).toContain('D /conf/hosts deleted file');
    expect(view(...less).logicalBytes()).toBe(EXAMPLE_BYTES - 10);
  });

  test('a renamed file that replaces another', () => {
    const srv = record('merged', '/srv', { origin: NODES.srv });
    const records = [etc, record('whiteout', '/etc/hosts'), srv, record('link', '/srv/data', { origin: NODES.hosts, sizeBytes: 10, object: object(10) })];
    expect(lines(...records)).toEqual(['D /etc/hosts deleted file', 'C /srv/data renamed file /etc/hosts']);
    expect(view(...records).logicalBytes()).toBe(EXAMPLE_BYTES - 100);
  });

  test('a folder made anew hides what the tree has in it', () => {
    const records = [record('dir', '/etc'), record('file', '/etc/hosts', { sizeBytes: 3 })];
    expect(lines(...records)).toEqual(['C /etc changed dir', 'A /etc/hosts added file', 'D /etc/passwd deleted file']);
    expect(view(...records).logicalBytes()).toBe(EXAMPLE_BYTES - 30 + 3);
  });

  test('a file in the place of a folder', () => {
    expect(lines(record('symlink', '/etc'))).toEqual(['C /etc changed symlink']);
    expect(view(record('symlink', '/etc')).logicalBytes()).toBe(EXAMPLE_BYTES - 30);
  });

  test('an inode that has lost its last name does not count', () => {
    expect(lines(record('file', 'inode:10000001', { sizeBytes: 99 }))).toEqual([]);
    expect(view(record('file', 'inode:10000001', { sizeBytes: 99 })).logicalBytes()).toBe(EXAMPLE_BYTES);
  });
});

test('sums count each inode once', () => {
  const file = record('file', '/a', { sizeBytes: 5, allocatedBytes: 4096, links: 2 });
  const link = record('link', '/l', { sizeBytes: 7, object: object(7) });
  expect(privateSums([file, { ...file, path: '/b' }, link, record('dir', '/d', { allocatedBytes: 4096 }), record('whiteout', '/w', { inode: 0 })])).toEqual({
    allocatedBytes: 8192, files: 1, links: 1, linkedBytes: 7, ownBytes: 5,
  });
});
