import { readMounts } from '../engine/mount-table.js';
import { engineState } from '../engine/engine-state.js';
import { residentBytes } from '../engine/resident-bytes.js';
import { formatObjectId, objectPath, parseObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';
import type { ServiceContext } from './context.js';

/*
 * How much of the objects is in the page cache, by cachestat(2) of each object that mounted containers use. That is the one part of
 * statistics that costs what templates hold: nobody but the kernel knows, and it answers file by file (some microseconds each).
 */

/** A mounted container: its tree, and the objects that its links show. */
export interface CacheUser {
  readonly name: string;
  readonly tree: string;
  readonly objects: readonly string[];
}

export interface CacheStatistics {
  /** In the page cache of objects that mounted containers use, each object once. */
  readonly residentBytes: number;
  /** The same, once for each mounted container that uses the object. */
  readonly withoutSharingBytes: number;
  readonly savedBytes: number;
  /** How much is there of objects that so many mounted containers use; fewest first. */
  readonly byContainers: readonly { readonly containers: number; readonly objects: number; readonly residentBytes: number }[];
}

export interface ContainerCache {
  /** In the page cache of objects that it uses, whoever has read them. */
  readonly residentBytes: number;
  /** The same, each object divided by how many mounted containers use it. */
  readonly proportionalBytes: number;
}

interface UsedObject {
  uses: number;
  resident: number;
}

/** Which objects mounted containers use, and how many of them each. */
class UsedObjects {
  readonly all = new Map<string, UsedObject>();
  readonly ofTrees = new Map<string, UsedObject[]>();
  readonly ofContainers = new Map<string, UsedObject[]>();

  constructor(context: ServiceContext, users: readonly CacheUser[]) {
    for (const tree of new Set(users.map((user) => user.tree))) this.#addTree(context, tree, users.filter((user) => user.tree === tree));
  }

  #use(id: string, uses: number): UsedObject {
    const object = this.all.get(id) ?? { uses: 0, resident: 0 };
    object.uses += uses;
    this.all.set(id, object);
    return object;
  }

  #addTree(context: ServiceContext, digest: string, sharers: readonly CacheUser[]): void {
    const tree = TreeReader.open(context.paths.tree(digest));
    try {
      const inTree = new Set<string>();
      const used: UsedObject[] = [];
      for (const object of tree.objects()) {
        const id = formatObjectId(object);
        inTree.add(id);
        used.push(this.#use(id, sharers.length));
      }
      this.ofTrees.set(digest, used);
      for (const { name, objects } of sharers) {
        this.ofContainers.set(name, objects.filter((id) => !inTree.has(id)).map((id) => this.#use(id, 1)));
      }
    } finally {
      tree.close();
    }
  }
}

function sumCache(objects: readonly UsedObject[]): ContainerCache {
  let resident = 0;
  let proportional = 0;
  for (const object of objects) {
    resident += object.resident;
    proportional += object.resident / object.uses;
  }
  return { residentBytes: resident, proportionalBytes: proportional };
}

/**
 * Asks the kernel about the objects that mounted containers use.
 * @returns sums over all, and those of each container by its name @throws BAD_TREE, ENGINE_FAILED, INTERRUPTED
 */
export async function cacheStatistics(
  context: ServiceContext,
  users: readonly CacheUser[],
): Promise<{ readonly all: CacheStatistics; readonly containers: ReadonlyMap<string, ContainerCache> }> {
  const used = new UsedObjects(context, users);
  const paths: string[] = [];
  const objects: UsedObject[] = [];
  for (const [text, object] of used.all) {
    const id = parseObjectId(text);
    if (id === undefined) continue;
    paths.push(objectPath(context.paths, id));
    objects.push(object);
  }
  for (const [index, bytes] of (await residentBytes(paths, context.signal)).entries()) {
    const object = objects[index];
    if (object !== undefined) object.resident = bytes;
  }
  let once = 0;
  let each = 0;
  const byUses = new Map<number, { objects: number; residentBytes: number }>();
  for (const { uses, resident } of objects) {
    once += resident;
    each += resident * uses;
    const sum = byUses.get(uses) ?? { objects: 0, residentBytes: 0 };
    byUses.set(uses, { objects: sum.objects + (resident > 0 ? 1 : 0), residentBytes: sum.residentBytes + resident });
  }
  const ofTree = new Map([...used.ofTrees].map(([tree, list]) => [tree, sumCache(list)]));
  const containers = new Map<string, ContainerCache>();
  for (const { name, tree } of users) {
    const base = ofTree.get(tree) ?? sumCache([]);
    const own = sumCache(used.ofContainers.get(name) ?? []);
    containers.set(name, { residentBytes: base.residentBytes + own.residentBytes, proportionalBytes: Math.round(base.proportionalBytes + own.proportionalBytes) });
  }
  return {
    all: {
      residentBytes: once,
      withoutSharingBytes: each,
      savedBytes: each - once,
      byContainers: [...byUses].sort(([a], [b]) => a - b).map(([count, sum]) => ({ containers: count, ...sum })),
    },
    containers,
  };
}

/** Whether each container is mounted; the mount table is read once. */
export async function mountedContainers(context: ServiceContext, names: readonly string[]): Promise<ReadonlySet<string>> {
  const mounts = readMounts();
  const mounted = new Set<string>();
  for (const name of names) if ((await engineState(context.paths, name, mounts)).state === 'mounted') mounted.add(name);
  return mounted;
}
