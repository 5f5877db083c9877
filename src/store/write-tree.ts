import { closeSync, constants, fsyncSync, linkSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { syncFolder } from './write-file-durably.js';
import { filesEqual } from './compare-content.js';
import type { Hierarchy } from './hierarchy.js';
import { makeFolders } from './make-folders.js';
import { ensureStaging, stagingPath } from './staging.js';
import { encodeTree, type EncodedTree } from './tree-writer.js';

/**
 * Writes a hierarchy as a tree of the store. When it returns, the tree is durable under its digest; a tree that is
 * there already is compared and kept, or replaced if it is broken; engines that have it mapped keep what they have.
 * Objects must be committed before (`ObjectBatch`).
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function writeTree(paths: StorePaths, hierarchy: Hierarchy): EncodedTree {
  const staged = stagingPath(paths, 'tree');
  try {
    makeFolders(paths.trees);
    ensureStaging(paths);
    const tree = stageTree(staged, hierarchy);
    const file = paths.tree(tree.digest);
    // link(2) and not rename(2): it never replaces, so a sound tree that is there is never touched. One whose bytes are
    // not those that its name stands for is broken, and this import is the source that mends it.
    if (linkUnlessTaken(staged, file) || filesEqual(staged, file)) rmSync(staged);
    else renameSync(staged, file);
    syncFolder(paths.trees);
    return tree;
  } catch (error) {
    rmSync(staged, { force: true });
    throw storeWriteError(error, `a tree in ${paths.trees}`);
  }
}

function stageTree(file: string, hierarchy: Hierarchy): EncodedTree {
  const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
  try {
    const tree = encodeTree(hierarchy, (block) => {
      for (let done = 0; done < block.length; ) done += writeSync(fd, block, done);
    });
    fsyncSync(fd);
    return tree;
  } finally {
    closeSync(fd);
  }
}

function linkUnlessTaken(staged: string, file: string): boolean {
  try {
    linkSync(staged, file);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
