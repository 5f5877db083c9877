import { describe, expect, onTestFinished, test } from 'vitest';
import type { ScanRecord } from '../../../src/engine/scan.js';
import { RootView, joinPath, nameOf, sizeOf } from '../../../src/service/root-view.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { temporaryStore } from '../catalog/temporary-store.js';
import { NODES, exampleTree } from './store-with-template.js';

function record(kind: ScanRecord['kind'], path: string, values: Partial<ScanRecord> = {}): ScanRecord {
  const mode = { dir: 0o040755, merged: 0o040755, whiteout: 0o020000, symlink: 0o120777 }[kind as string] ?? 0o100644;
  return {
    kind, path, inode: 1000, mode, uid: 0, gid: 0, sizeBytes: 5, allocatedBytes: 0, mtimeSeconds: 0, mtimeNanoseconds: 0, origin: null, object: null, links: 1, ...values,
  };
}

function view(...records: ScanRecord[]): RootView {
  const paths = temporaryStore();
  const tree = TreeReader.open(paths.tree(writeTree(paths, exampleTree()).digest));
  onTestFinished(() => { tree.close(); });
  return new RootView(tree, records);
}

/** All paths of a root with their sizes. */
function listing(root: RootView): string[] {
  const top = root.at('/');
  return top === undefined ? [] : Array.from(root.walk(top), (entry) => `${entry.path} ${sizeOf(entry)}`);
}

const UNTOUCHED = ['/ 0', '/etc 0', '/etc/hosts 10', '/etc/passwd 20', '/srv 0', '/srv/data 100', '/usr 0', '/usr/bin 0', '/usr/bin/gcc 4', '/usr/bin/perl 40', '/usr/bin/perl5 40'];

describe('a root without a mount', () => {
  test('shows its tree, and what lies over it', () => {
    expect(listing(view())).toEqual(UNTOUCHED);
    const etc = record('merged', '/etc', { origin: NODES.etc, sizeBytes: 0 });
    const changed = view(etc, record('whiteout', '/etc/hosts'), record('file', '/etc/new'), record('whiteout', '/usr'), record('dir', '/srv', { sizeBytes: 0 }), record('file', '/srv/x'));
    expect(listing(changed)).toEqual(['/ 0', '/etc 0', '/etc/new 5', '/etc/passwd 20', '/srv 0', '/srv/x 5']);
    for (const path of ['/etc/hosts', '/usr/bin/perl', '/srv/data', '/nowhere/at/all']) expect(changed.at(path), path).toBeUndefined();
  });

  test('a moved folder shows what it had', () => {
    const moved = view(record('whiteout', '/etc'), record('merged', '/conf', { origin: NODES.etc, sizeBytes: 0 }));
    expect(moved.at('/conf/passwd')?.node?.number).toBe(NODES.passwd);
    expect(moved.at('/etc/passwd')).toBeUndefined();
  });

  test('a changed inode is changed under each of its names', () => {
    const changed = view(record('file', '/usr/bin/perl', { origin: NODES.perl, sizeBytes: 41 }));
    expect(changed.at('/usr/bin/perl5')?.record?.sizeBytes).toBe(41);
    expect(listing(changed)).toContain('/usr/bin/perl5 41');
  });

  test('paths are resolved within the root', () => {
    const targets = new Map([['/loop', 'loop'], ['/out', '../../usr'], ['/abs', '/etc'], ['/usr/bin/gcc', 'perl']]);
    const root = view(...[...targets.keys()].filter((path) => path !== '/usr/bin/gcc').map((path) => record('symlink', path)));
    const resolve = (path: string, last = false): string | undefined => root.resolve(path, (entry) => targets.get(entry.path), last)?.path;
    expect(resolve('/abs/hosts')).toBe('/etc/hosts');
    expect(resolve('/out/bin/../bin//perl')).toBe('/usr/bin/perl');
    expect(resolve('/usr/bin/gcc')).toBe('/usr/bin/gcc');
    expect(resolve('/usr/bin/gcc', true)).toBe('/usr/bin/perl');
    expect(resolve('/loop/x')).toBeUndefined();
    expect(resolve('/etc/hosts/x')).toBeUndefined();
    expect(resolve('/../..')).toBe('/');
  });

  test('names of paths', () => {
    expect([joinPath('/', 'a'), joinPath('/a', 'b'), nameOf('/a/b')]).toEqual(['/a', '/a/b', 'b']);
  });
});
