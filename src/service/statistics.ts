import { statSync } from 'node:fs';
import { readContainerFile } from '../catalog/container-file.js';
import type { ContainerRecord } from '../catalog/records.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { engineState } from '../engine/engine-state.js';
import { readMounts } from '../engine/mount-table.js';
import { residentBytes } from '../engine/resident-bytes.js';
import { scanPrivateArea } from '../engine/scan.js';
import { formatObjectId, objectPath, parseObjectId, type ObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { snapshotIds, snapshotsInStore } from './list-snapshots.js';
import { objectTotals } from './object-totals.js';
import { privateSums } from './private-sums.js';
import { PrivateView } from './private-view.js';

/** Disk and memory, in bytes. */
export interface Statistics {
  readonly disk: {
    /** What the containers would take as separate copies. */
    readonly logicalBytes: number;
    /** Allocated for objects, trees, private areas and snapshots. */
    readonly storedBytes: number;
    /** Of that for entries and contents of snapshots; what they share with others is counted there. */
    readonly snapshotBytes: number;
    readonly savedBytes: number;
    /** logical / stored; null for an empty store. */
    readonly ratio: number | null;
  };
  readonly memory: {
    /** In the page cache of objects that mounted containers use, each object once. */
    readonly residentBytes: number;
    /** The same, once for each mounted container that uses the object. */
    readonly withoutSharingBytes: number;
    readonly savedBytes: number;
  };
  readonly containers: readonly ContainerStatistics[];
}

export interface ContainerStatistics {
  readonly name: string;
  /** Content that the container sees. */
  readonly logicalBytes: number;
  /** Allocated for what it changed. */
  readonly privateBytes: number;
  /** Size of private entries whose content is shared. */
  readonly linkedBytes: number;
  readonly links: number;
}

interface Found {
  readonly statistics: ContainerStatistics;
  readonly tree: string;
  readonly mounted: boolean;
  /** Objects of its links, by id. */
  readonly linked: ReadonlySet<string>;
}

async function lookAt(context: ServiceContext, container: ContainerRecord): Promise<Found> {
  const { paths, signal } = context;
  const { name, tree } = container;
  const records = await scanPrivateArea(paths, name, signal);
  const sums = privateSums(records);
  const reader = TreeReader.open(paths.tree(tree));
  try {
    return {
      statistics: {
        name,
        logicalBytes: new PrivateView(reader, records).logicalBytes(),
        privateBytes: sums.allocatedBytes,
        linkedBytes: sums.linkedBytes,
        links: sums.links,
      },
      tree,
      mounted: (await engineState(paths, name, readMounts())).state === 'mounted',
      linked: new Set(records.flatMap(({ object }) => (object === null ? [] : [object]))),
    };
  } finally {
    reader.close();
  }
}

/** How many of these containers use each object. */
function countUses(context: ServiceContext, containers: readonly Found[]): Map<string, { id: ObjectId; uses: number }> {
  const uses = new Map<string, { id: ObjectId; uses: number }>();
  const add = (id: ObjectId, count: number): void => {
    const key = formatObjectId(id);
    const before = uses.get(key);
    if (before === undefined) uses.set(key, { id, uses: count });
    else before.uses += count;
  };
  for (const tree of new Set(containers.map((container) => container.tree))) {
    const sharers = containers.filter((container) => container.tree === tree);
    const reader = TreeReader.open(context.paths.tree(tree));
    try {
      const inTree = new Set<string>();
      for (const object of reader.objects()) {
        add({ hash: object.hash, variant: object.variant }, sharers.length);
        inTree.add(formatObjectId(object));
      }
      for (const text of sharers.flatMap(({ linked }) => [...linked])) {
        const id = inTree.has(text) ? undefined : parseObjectId(text);
        if (id !== undefined) add(id, 1);
      }
    } finally {
      reader.close();
    }
  }
  return uses;
}

async function memoryOf(context: ServiceContext, containers: readonly Found[]): Promise<Statistics['memory']> {
  const uses = [...countUses(context, containers.filter(({ mounted }) => mounted)).values()];
  const resident = await residentBytes(uses.map(({ id }) => objectPath(context.paths, id)), context.signal);
  let once = 0;
  let each = 0;
  for (const [index, bytes] of resident.entries()) {
    once += bytes;
    each += bytes * (uses[index]?.uses ?? 1);
  }
  return { residentBytes: once, withoutSharingBytes: each, savedBytes: each - once };
}

/** Bytes that a file takes on the disk; 0 if it is not there. */
function allocatedBytes(file: string): number {
  try {
    return statSync(file).blocks * 512;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** All objects and trees of the store, or those of one container. */
async function sharedBytes(context: ServiceContext, only: Found | undefined): Promise<number> {
  using opened = openForReading(context);
  const { catalog } = opened;
  if (only !== undefined) {
    const ids = [...countUses(context, [only]).values()];
    return ids.reduce((sum, { id }) => sum + allocatedBytes(objectPath(context.paths, id)), allocatedBytes(context.paths.tree(only.tree)));
  }
  const ofSnapshots = snapshotsInStore(context.paths).flatMap((name) => readContainerFile(context.paths.containerFile(name)) ?? []);
  const trees = new Set([...catalog.templates(), ...catalog.containers(), ...ofSnapshots].map(({ tree }) => tree));
  const treeBytes = [...trees].reduce((sum, tree) => sum + allocatedBytes(context.paths.tree(tree)), 0);
  return treeBytes + (await objectTotals(context, catalog)).allocatedBytes;
}

/** Allocated for what only the snapshots of a container, or of all, hold. */
async function snapshotBytes(context: ServiceContext, name: string | undefined): Promise<number> {
  const { paths, signal } = context;
  const names = name === undefined ? snapshotsInStore(paths) : snapshotIds(paths, name).map((id) => `${name}@${id}`);
  let bytes = 0;
  for (const snapshot of names) {
    signal?.throwIfAborted();
    try {
      bytes += privateSums(await scanPrivateArea(paths, snapshot, signal)).allocatedBytes;
    } catch (error) {
      // Another command has just removed it.
      if (!(error instanceof TemplatefsError) || error.code !== 'CONTAINER_NOT_FOUND') throw error;
    }
  }
  return bytes;
}

/**
 * What sharing saves, on disk and in memory. With `name` only that container, as if it were alone in the store.
 *
 * @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED, BAD_CATALOG
 */
export async function statistics(context: ServiceContext, name?: string): Promise<Statistics> {
  const found: Found[] = [];
  for (const container of containersToLookAt(context, name)) {
    context.signal?.throwIfAborted();
    try {
      found.push(await lookAt(context, container));
    } catch (error) {
      // Another command has just destroyed it.
      if (name === undefined && error instanceof TemplatefsError && error.code === 'CONTAINER_NOT_FOUND') continue;
      throw error;
    }
  }
  const logicalBytes = found.reduce((sum, { statistics: { logicalBytes: bytes } }) => sum + bytes, 0);
  const privateBytes = found.reduce((sum, { statistics: { privateBytes: bytes } }) => sum + bytes, 0);
  const ofSnapshots = await snapshotBytes(context, name);
  const storedBytes = privateBytes + ofSnapshots + (await sharedBytes(context, name === undefined ? undefined : found[0]));
  return {
    disk: {
      logicalBytes,
      storedBytes,
      snapshotBytes: ofSnapshots,
      savedBytes: logicalBytes - storedBytes,
      ratio: storedBytes === 0 ? null : Math.round((logicalBytes / storedBytes) * 1000) / 1000,
    },
    memory: await memoryOf(context, found),
    containers: found.map(({ statistics: numbers }) => numbers),
  };
}

function containersToLookAt(context: ServiceContext, name: string | undefined): ContainerRecord[] {
  using opened = openForReading(context);
  return name === undefined ? opened.catalog.containers() : [findContainer(opened.catalog, name)];
}
