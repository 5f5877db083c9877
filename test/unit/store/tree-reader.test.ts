import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Hierarchy } from '../../../src/store/hierarchy.js';
import { printableName } from '../../../src/store/raw-names.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { verifyTree } from '../../../src/store/tree-verify.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { names, temporaryStore } from './temporary-store.js';

const GOLDEN = join(import.meta.dirname, '../../golden/trees');
const FILE = { mode: 0o100644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };

describe('TreeReader', () => {
  it('finds each name of each folder, and none that is not there', () => {
    for (const image of readdirSync(GOLDEN).filter((name) => name.endsWith('.tree'))) {
      const tree = TreeReader.open(join(GOLDEN, image));
      for (let number = 0; number < tree.header.nodeCount; number += 1) {
        const node = tree.node(number);
        if ((node.mode & 0o170000) !== 0o040000) continue;
        for (const { name, child } of tree.entries(node)) {
          expect(tree.find(node, name)?.number).toBe(child.number);
          for (const other of [`${name}\0`, name.slice(0, -1), `${name}~`, `\0${name}`]) {
            const isThere = [...tree.entries(node)].some((entry) => entry.name === other);
            expect(tree.find(node, other) !== undefined, printableName(other)).toBe(isThere);
          }
        }
      }
      tree.close();
    }
  }, 60_000);

  it('looks paths up, without following symlinks', () => {
    const tree = TreeReader.open(join(GOLDEN, 'rich.tree'));
    expect(tree.lookup('/usr/bin/ls')?.number).toBe(tree.lookup('hard')?.number);
    expect(tree.lookup('/')?.number).toBe(0);
    expect(tree.lookup('//usr/./bin/')?.mode).toBe(0o040755);
    expect([tree.lookup('/sbin/ls'), tree.lookup('/usr/none'), tree.lookup('/hard/x'), tree.lookup('/usr/../usr')]).toEqual([undefined, undefined, undefined, undefined]);
    tree.close();
    expect(() => tree.node(500)).toThrow();
  });

  it('reports what cannot be opened as the system does', () => {
    expect(() => TreeReader.open('/nonexistent')).toThrow(expect.objectContaining({ code: 'ENOENT' }) as Error);
    expect(() => TreeReader.open('/dev/null')).toThrow(expect.objectContaining({ code: 'BAD_TREE' }) as Error);
  });
});

describe('writeTree', () => {
  function tree(order: readonly string[]): Hierarchy {
    const hierarchy = new Hierarchy();
    for (const name of order) hierarchy.setChild(hierarchy.root, name, hierarchy.addNode(FILE));
    return hierarchy;
  }

  it('gives one file whatever the order was, and keeps the one that is there', () => {
    const paths = temporaryStore();
    const digests = [['a', 'b', 'c'], ['c', 'a', 'b'], ['a', 'b', 'c']].map((order) => writeTree(paths, tree(order)).digest);
    expect(names(paths.trees)).toEqual([digests[0]]);
    expect(new Set(digests).size).toBe(1);
    expect(names(paths.staging)).toEqual([]);
  });

  it('mends a tree whose bytes are not those of its name', () => {
    const paths = temporaryStore();
    const { digest } = writeTree(paths, tree(['a']));
    writeFileSync(paths.tree(digest), 'other');
    expect(writeTree(paths, tree(['a'])).digest).toBe(digest);
    verifyTree(paths.tree(digest));
    expect(names(paths.staging)).toEqual([]);
  });

  it('leaves out nodes that have no name, and objects that no file has', () => {
    const paths = temporaryStore();
    const hierarchy = tree(['a', 'b']);
    hierarchy.objects.push({ hash: '0'.repeat(32), variant: 0, size: 1 });
    hierarchy.removeChild(hierarchy.root, 'a');
    const written = writeTree(paths, hierarchy);
    expect(written).toMatchObject({ nodeCount: 2, entryCount: 1, objectCount: 0 });
    verifyTree(paths.tree(written.digest));
  });

  it('writes and checks 200,000 files in a folder, and opens it as fast as a small one', () => {
    const paths = temporaryStore();
    const large = writeTree(paths, tree(Array.from({ length: 200_000 }, (_, i) => `file ${i}`)));
    verifyTree(paths.tree(large.digest));
    const start = performance.now();
    const reader = TreeReader.open(paths.tree(large.digest));
    expect(reader.lookup('file 123456')?.number).toBeGreaterThan(0);
    reader.close();
    expect(performance.now() - start).toBeLessThan(50);
  });
});
