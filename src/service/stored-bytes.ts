import { statSync } from 'node:fs';
import { readContainerFile } from '../catalog/container-file.js';
import { errnoOf } from '../core/errors.js';
import { formatObjectId, objectPath, parseObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';
import { openForReading, type ServiceContext } from './context.js';
import { snapshotsInStore } from './list-snapshots.js';
import { keptObjectTotals, objectTotals } from './object-totals.js';
import { objectUsage } from '../store/object-usage.js';

/** Allocated on the disk for what containers share. */
export interface SharedBytes {
  readonly objectBytes: number;
  readonly treeBytes: number;
  /** What was kept in the catalog, when everything was counted anew. */
  readonly keptObjectBytes?: number;
}

/** Bytes that a file takes on the disk; 0 if it is not there. */
export function allocatedBytes(file: string): number {
  try {
    return statSync(file).blocks * 512;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** All objects and trees of the store. Objects are counted anew only when some have come or gone, or if `exact`. @throws IO_ERROR, BAD_CATALOG */
export async function sharedBytesOfStore(context: ServiceContext, exact = false): Promise<SharedBytes> {
  using opened = openForReading(context);
  const { catalog } = opened;
  const ofSnapshots = snapshotsInStore(context.paths).flatMap((name) => readContainerFile(context.paths.containerFile(name)) ?? []);
  const trees = new Set([...catalog.templates(), ...catalog.containers(), ...ofSnapshots].map(({ tree }) => tree));
  const treeBytes = [...trees].reduce((sum, tree) => sum + allocatedBytes(context.paths.tree(tree)), 0);
  if (!exact) return { treeBytes, objectBytes: (await objectTotals(context, catalog)).allocatedBytes };
  const kept = keptObjectTotals(catalog);
  const { allocatedBytes: objectBytes } = await objectUsage(context.paths);
  return { treeBytes, objectBytes, ...(kept !== undefined && keptObjectTotals(catalog) !== undefined && { keptObjectBytes: kept.allocatedBytes }) };
}

/** What one container would need in a store of its own. @throws BAD_TREE */
export function sharedBytesOf(context: ServiceContext, { tree, objects }: { readonly tree: string; readonly objects: readonly string[] }): SharedBytes {
  const ids = new Set(objects);
  const reader = TreeReader.open(context.paths.tree(tree));
  try {
    for (const object of reader.objects()) ids.add(formatObjectId(object));
  } finally {
    reader.close();
  }
  let objectBytes = 0;
  for (const text of ids) {
    const id = parseObjectId(text);
    if (id !== undefined) objectBytes += allocatedBytes(objectPath(context.paths, id));
  }
  return { objectBytes, treeBytes: allocatedBytes(context.paths.tree(tree)) };
}
