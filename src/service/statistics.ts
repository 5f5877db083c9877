import { availableParallelism } from 'node:os';
import { readContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import { severalAtOnce } from '../core/several-at-once.js';
import { controlRequest } from '../engine/control-client.js';
import { containerAreaState, snapshotState, type AreaState } from './area-state.js';
import { SumsOfAreas, type Area, type AreaSums } from './area-sums.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { snapshotIds, snapshotsInStore } from './list-snapshots.js';
import { cacheStatistics, mountedContainers, type CacheStatistics, type ContainerCache } from './page-cache-statistics.js';
import { sharedBytesOf, sharedBytesOfStore, type SharedBytes } from './stored-bytes.js';

/** Disk and memory, in bytes. */
export interface Statistics {
  readonly disk: DiskStatistics;
  /** null: nobody was asked to look. */
  readonly memory: CacheStatistics | null;
  readonly containers: readonly ContainerStatistics[];
  /** Only of an exact count. */
  readonly exact?: ExactCount;
}

export interface DiskStatistics {
  /** What the containers would take as separate copies. */
  readonly logicalBytes: number;
  /** Allocated for objects, trees, private areas and snapshots. */
  readonly storedBytes: number;
  readonly objectBytes: number;
  readonly treeBytes: number;
  /** Allocated for private areas of containers. */
  readonly privateBytes: number;
  /** Allocated for entries and contents of snapshots; what they share with others is counted there. */
  readonly snapshotBytes: number;
  /** Of the logical size: seen straight from templates, shared by links, the containers' own. */
  readonly templateBytes: number;
  readonly linkedBytes: number;
  readonly ownBytes: number;
  readonly savedBytes: number;
  /** logical / stored; null for an empty store. */
  readonly ratio: number | null;
}

export interface ContainerStatistics {
  readonly name: string;
  /** Content that the container sees. */
  readonly logicalBytes: number;
  /** Of that from its template as it is. */
  readonly templateBytes: number;
  /** Of that of its own. */
  readonly ownBytes: number;
  /** Allocated for what it changed. */
  readonly privateBytes: number;
  readonly privateFiles: number;
  /** Size of private entries whose content is shared. */
  readonly linkedBytes: number;
  readonly links: number;
  /** When its private area was counted; ISO 8601. It has not changed since, but by files that are open. */
  readonly counted: string;
  /** null while it is not mounted, or if nobody looked. */
  readonly memory: ContainerCache | null;
}

/** What a count of everything has found beside what was kept. */
export interface ExactCount {
  readonly agrees: boolean;
  readonly differences: readonly { readonly what: string; readonly keptBytes: number; readonly countedBytes: number }[];
}

export interface StatisticsOptions {
  /** Only this container, as if it were alone in the store. */
  readonly name?: string;
  /** Looks at everything, and compares it with what was kept. */
  readonly exact?: boolean;
  /** Leaves the page cache out: all that is left costs no look at a template. */
  readonly noMemory?: boolean;
}

interface Looked {
  readonly area: Area;
  readonly state: AreaState;
  readonly sums: AreaSums;
}

/** Containers that are looked at at once. */
const MOST_LOOKS = 4;

type Difference = ExactCount['differences'][number];

class Look {
  readonly #context: ServiceContext;
  readonly #exact: boolean;
  readonly sums: SumsOfAreas;
  readonly differences: Difference[] = [];

  constructor(context: ServiceContext, exact: boolean) {
    this.#context = context;
    this.#exact = exact;
    this.sums = new SumsOfAreas(context);
  }

  /** @returns undefined for one that another command has just removed */
  async at(area: Area, isOnly: boolean): Promise<Looked | undefined> {
    const { paths, signal } = this.#context;
    signal?.throwIfAborted();
    const isSnapshot = area.name.includes('@');
    try {
      if (this.#exact && !isSnapshot) await this.#flush(area.name);
      const state = isSnapshot ? snapshotState(paths, area.name) : await containerAreaState(paths, area.name, signal);
      return { area, state, sums: this.#exact ? await this.#recount(area, state) : await this.sums.of(area, state) };
    } catch (error) {
      if (!isOnly && error instanceof TemplatefsError && error.code === 'CONTAINER_NOT_FOUND') return undefined;
      throw error;
    }
  }

  async #recount(area: Area, state: AreaState): Promise<AreaSums> {
    const kept = this.sums.kept(area, state);
    const { sums } = await this.sums.count(area, state);
    // Of what files that are open have grown by, nobody could know.
    if (kept !== undefined && !state.hasOpenFiles) {
      for (const what of ['logicalBytes', 'privateBytes', 'linkedBytes'] as const) this.compare(`${area.name} ${what}`, kept[what], sums[what]);
    }
    return sums;
  }

  compare(what: string, keptBytes: number, countedBytes: number): void {
    if (keptBytes !== countedBytes) this.differences.push({ what, keptBytes, countedBytes });
  }

  /** What was written a moment ago may have no blocks yet. */
  async #flush(container: string): Promise<void> {
    const { paths } = this.#context;
    if ((await mountedContainers(this.#context, [container])).has(container)) {
      await controlRequest(paths.controlSocket(container), ['sync'], { timeoutMs: 120_000 });
    }
  }
}

/**
 * What sharing saves, on disk and in memory. Private areas that have not changed since they were counted are not looked at, and
 * templates never, but for the page cache: docs/measuring.md.
 *
 * @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED, BAD_CATALOG, INTERRUPTED
 */
export async function statistics(context: ServiceContext, options: StatisticsOptions = {}): Promise<Statistics> {
  const { name, exact = false } = options;
  const { paths } = context;
  const look = new Look(context, exact);
  // Areas that have changed are listed by a process each.
  const looked = await severalAtOnce(containersToLookAt(context, name), Math.min(MOST_LOOKS, availableParallelism()), (area) => look.at(area, name !== undefined));
  const found = looked.filter((each) => each !== undefined);
  let snapshotBytes = 0;
  const snapshots = name === undefined ? snapshotsInStore(paths) : snapshotIds(paths, name).map((id) => `${name}@${id}`);
  for (const snapshot of snapshots) {
    const tree = readContainerFile(paths.containerFile(snapshot))?.tree;
    if (tree !== undefined) snapshotBytes += (await look.at({ name: snapshot, tree }, false))?.sums.privateBytes ?? 0;
  }
  if (name === undefined) look.sums.retain(new Set([...found.map(({ area }) => area.name), ...snapshots]));
  const memory = options.noMemory === true ? undefined : await lookAtMemory(context, look.sums, found);
  return {
    disk: diskOf(found, snapshotBytes, await shared(context, look, found, options)),
    memory: memory?.all ?? null,
    containers: found.map(({ area, sums }) => ({ name: area.name, ...sums, memory: memory?.containers.get(area.name) ?? null })),
    ...(exact && { exact: { agrees: look.differences.length === 0, differences: look.differences } }),
  };
}

async function shared(context: ServiceContext, look: Look, found: readonly Looked[], options: StatisticsOptions): Promise<SharedBytes> {
  const [only] = found;
  if (options.name !== undefined && only !== undefined) {
    return sharedBytesOf(context, { tree: only.area.tree, objects: await look.sums.objectsOf(only.area, only.state) });
  }
  const store = await sharedBytesOfStore(context, options.exact === true);
  if (store.keptObjectBytes !== undefined) look.compare('objects', store.keptObjectBytes, store.objectBytes);
  return store;
}

function diskOf(found: readonly Looked[], snapshotBytes: number, { objectBytes, treeBytes }: SharedBytes): DiskStatistics {
  const total = (what: 'logicalBytes' | 'templateBytes' | 'linkedBytes' | 'ownBytes' | 'privateBytes'): number =>
    found.reduce((sum, { sums }) => sum + sums[what], 0);
  const [logicalBytes, privateBytes] = [total('logicalBytes'), total('privateBytes')];
  const storedBytes = privateBytes + snapshotBytes + objectBytes + treeBytes;
  return {
    logicalBytes,
    storedBytes,
    objectBytes,
    treeBytes,
    privateBytes,
    snapshotBytes,
    templateBytes: total('templateBytes'),
    linkedBytes: total('linkedBytes'),
    ownBytes: total('ownBytes'),
    savedBytes: logicalBytes - storedBytes,
    ratio: storedBytes === 0 ? null : Math.round((logicalBytes / storedBytes) * 1000) / 1000,
  };
}

async function lookAtMemory(context: ServiceContext, sums: SumsOfAreas, found: readonly Looked[]): ReturnType<typeof cacheStatistics> {
  const mounted = await mountedContainers(context, found.map(({ area }) => area.name));
  const users = [];
  for (const { area, state } of found) {
    if (mounted.has(area.name)) users.push({ ...area, objects: await sums.objectsOf(area, state) });
  }
  return cacheStatistics(context, users);
}

function containersToLookAt(context: ServiceContext, name: string | undefined): Area[] {
  using opened = openForReading(context);
  return name === undefined ? opened.catalog.containers() : [findContainer(opened.catalog, name)];
}
