import { readFileSync } from 'node:fs';
import type { StorePaths } from '../core/store-paths.js';
import { isRegular } from './inode-types.js';
import { objectPath } from './object-id.js';
import { rawFromText } from './raw-names.js';
import { TreeReader } from './tree-reader.js';

/** Reads a small file of a tree; symlinks are not followed. @returns undefined when there is none, or it is larger than `maxBytes` */
export function readTreeFile(paths: StorePaths, tree: string, path: string, maxBytes: number): string | undefined {
  const reader = TreeReader.open(paths.tree(tree));
  try {
    const node = reader.lookup(rawFromText(path));
    if (node === undefined || !isRegular(node.mode) || node.size > maxBytes) return undefined;
    const object = reader.object(node);
    return object === undefined ? '' : readFileSync(objectPath(paths, object), 'utf8');
  } finally {
    reader.close();
  }
}
