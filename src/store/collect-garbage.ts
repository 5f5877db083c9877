import { lstatSync, unlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { namesIn } from './folder-names.js';
import { treeDigests } from './content-sums.js';
import { listObjects } from './list-objects.js';
import { formatObjectId } from './object-id.js';
import { TreeReader } from './tree-reader.js';

/** What garbage collection keeps. */
export interface Marks {
  readonly trees: Set<string>;
  readonly objects: Set<string>;
}

/** A file that nothing refers to. */
export interface Garbage {
  readonly kind: 'tree' | 'sums' | 'object';
  /** The tree's digest or the object's id. */
  readonly name: string;
  readonly path: string;
  /** Space that it takes on the disk. */
  readonly allocatedBytes: number;
}

/** Marks a tree, and every object that it names. @throws BAD_TREE, system errors: then nothing is known of its objects */
export function markTree(paths: StorePaths, digest: string, marks: Marks): void {
  if (marks.trees.has(digest)) return;
  const tree = TreeReader.open(paths.tree(digest));
  try {
    for (const object of tree.objects()) marks.objects.add(formatObjectId(object));
  } finally {
    tree.close();
  }
  marks.trees.add(digest);
}

/** Trees that are not marked, and files in sums/ without a tree that stays. */
export function unmarkedTrees(paths: StorePaths, marks: Marks): Garbage[] {
  return [
    ...treeDigests(paths).filter((name) => !marks.trees.has(name)).flatMap((name) => describe('tree', name, paths.tree(name))),
    ...namesIn(paths.sums).filter((name) => /^[0-9a-f]{64}$/.test(name) && !marks.trees.has(name)).flatMap((name) => describe('sums', name, paths.sumsOf(name))),
  ];
}

/** Objects that are not marked. Names that are no objects' are never among them. */
export async function* unmarkedObjects(paths: StorePaths, marks: Marks): AsyncGenerator<Garbage> {
  for await (const { path, id } of listObjects(paths)) {
    if (id === undefined || marks.objects.has(formatObjectId(id))) continue;
    yield* describe('object', formatObjectId(id), path);
  }
}

function describe(kind: Garbage['kind'], name: string, path: string): Garbage[] {
  let stat: Stats | undefined;
  try {
    stat = lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return [];
  }
  return stat?.isFile() === true ? [{ kind, name, path, allocatedBytes: stat.blocks * 512 }] : [];
}

/** @returns false if it was gone already */
export function removeGarbage({ path }: Garbage): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** What is in staging/ and does not have the name of anything that is staged: nobody knows what it is. */
export function strangersInStaging(paths: StorePaths): string[] {
  return namesIn(paths.staging)
    .filter((name) => !/^(?:objects|tree|sums)-[0-9]+-[0-9]+-[0-9a-f]+$/.test(name))
    .map((name) => join(paths.staging, name));
}
