import type { StorePaths } from '../core/store-paths.js';
import type { CommittedObjects } from './commit-objects.js';
import { SUM_BYTES, readSums, writeSums } from './content-sums.js';
import type { Hierarchy, NodeIndex } from './hierarchy.js';
import { isRegular } from './inode-types.js';
import type { ObjectBatch } from './object-batch.js';
import type { ObjectReference } from './object-id.js';
import { writeTree } from './write-tree.js';

export interface ImportResult {
  /** The tree's digest. */
  readonly tree: string;
  /** Regular files, each inode once. */
  readonly files: number;
  /** Names, the root not counted. */
  readonly entries: number;
  /** Bytes of the regular files, each inode once, holes included. */
  readonly bytes: number;
  /** Objects that the store did not have, and their bytes. */
  readonly newObjects: number;
  readonly newBytes: number;
  /** Objects of the tree that the store had already. */
  readonly sharedObjects: number;
}

/**
 * Commits a batch and writes the tree of a hierarchy whose files have the batch's tickets in place of objects.
 * Contents whose file was replaced or lost its name do not become objects.
 */
export async function finishImport(paths: StorePaths, batch: ObjectBatch, hierarchy: Hierarchy): Promise<ImportResult> {
  const files = namedFiles(hierarchy);
  const used = new Uint8Array(batch.tickets);
  for (const node of files) {
    const ticket = hierarchy.object(node);
    if (ticket !== undefined) used[ticket] = 1;
  }
  const committed = await batch.commit(used);
  // One at a time: spreading a million arguments over the stack would end it.
  for (const object of committed.objects) hierarchy.objects.push(object);
  for (const node of files) {
    const ticket = hierarchy.object(node);
    if (ticket === undefined) continue;
    hierarchy.setContent(node, committed.objectOf[ticket], hierarchy.size(node), hierarchy.blocks(node));
  }
  const tree = writeTree(paths, hierarchy);
  writeSumsOf(paths, tree.digest, committed);
  const { newObjects, newBytes, sharedObjects } = committed;
  return { tree: tree.digest, files: tree.regularCount, entries: tree.entryCount, bytes: tree.contentBytes, newObjects, newBytes, sharedObjects };
}

/** The end of an import that only mends. */
export async function finishMending(batch: ObjectBatch): Promise<ImportResult> {
  await batch.commit();
  return { tree: '', files: 0, entries: 0, bytes: 0, newObjects: 0, newBytes: 0, sharedObjects: 0 };
}

/** Columns in, a file in the tree's order out. A cut before it leaves a tree without sums, which `verify --repair` writes. */
function writeSumsOf(paths: StorePaths, digest: string, { objects, sums }: CommittedObjects): void {
  const present = readSums(paths, digest);
  if (Buffer.isBuffer(present) && present.length === objects.length * SUM_BYTES) return;
  const order = new Uint32Array(objects.length).map((_, index) => index).sort((a, b) => compareIds(objects[a], objects[b]));
  let next = 0;
  writeSums(paths, digest, (object) => {
    const index = order[next] ?? 0;
    next += 1;
    if (compareIds(objects[index], object) !== 0) throw new Error(`object ${object.hash} of the tree was not committed`);
    return sums.get(index);
  });
}

function compareIds(a: ObjectReference | undefined, b: ObjectReference | undefined): number {
  if (a === undefined || b === undefined) throw new Error('an object that is not there');
  if (a.hash !== b.hash) return a.hash < b.hash ? -1 : 1;
  return a.variant - b.variant;
}

/** Regular files that can be reached from the root, each once. */
function namedFiles(hierarchy: Hierarchy): NodeIndex[] {
  const seen = new Uint8Array(hierarchy.nodeCount);
  const files: NodeIndex[] = [];
  const folders = [hierarchy.root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const child of hierarchy.children(folder).values()) {
      if (seen[child] === 1) continue;
      seen[child] = 1;
      const mode = hierarchy.mode(child);
      if (isRegular(mode)) files.push(child);
      else folders.push(child);
    }
  }
  return files;
}
