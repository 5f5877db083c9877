import { setTimeout as sleep } from 'node:timers/promises';
import { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { syncFolder } from '../store/write-file-durably.js';
import { TemplatefsError, storeWriteError } from '../core/errors.js';
import { forgetBroken, listBroken } from '../store/broken-objects.js';
import { removeGarbage, strangersInStaging, unmarkedObjects, unmarkedTrees, type Garbage, type Marks } from '../store/collect-garbage.js';
import { formatObjectId } from '../store/object-id.js';
import { lock, openForReading, openForWriting, requireRoot, type ServiceContext } from './context.js';
import { findLeftovers } from './leftovers.js';
import { areasInUse, markInUse, treesInUse, type Doubt } from './mark-in-use.js';
import { noteObjectsChange, objectsGeneration } from './object-totals.js';

export interface CollectOptions {
  /** Finds everything and removes nothing. */
  readonly dryRun: boolean;
}

export interface CollectedGarbage {
  readonly dryRun: boolean;
  /** Objects and trees that nothing referred to. */
  readonly objects: number;
  readonly trees: number;
  /** Space on the disk that was given back, leftovers included. */
  readonly freedBytes: number;
  /** What killed commands had left: paths. */
  readonly leftovers: readonly string[];
  /** What is not known: while it may refer to objects, no object and no tree is removed. */
  readonly kept: readonly Doubt[];
  /** What would have been removed without that. */
  readonly keptObjects: number;
  readonly keptBytes: number;
  /** With `dryRun`: ids of objects, digests of trees. */
  readonly listed?: { readonly objects: readonly string[]; readonly trees: readonly string[] };
}

/** An import that comes in between makes the marks out of date. */
const MARK_ROUNDS = 8;
/** So long are imports kept waiting at a time; others wait for nothing. */
const SLICE_MS = 300;
/** Commands that wait for a lock look every 50 ms. */
const PAUSE_MS = 120;

interface Found {
  readonly marks: Marks;
  /** The private areas that were looked at: mark-in-use.ts. */
  readonly areas: ReadonlyMap<string, string>;
  readonly doubts: readonly Doubt[];
  /** Trees before objects: a tree without its objects would be a broken one. */
  readonly garbage: readonly Garbage[];
}

/**
 * The generation in which nobody adds objects or makes links to them: whoever does so later has raised it before. Read without the lock it could be
 * that of somebody who has looked at an object already, and makes a link to it behind the marking.
 */
async function quietGeneration(context: ServiceContext): Promise<number> {
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'exclusive' }));
  using opened = openForReading(context);
  return objectsGeneration(opened.catalog);
}

/** Marks and looks for what is not marked. Takes no lock and changes nothing. */
async function find(context: ServiceContext): Promise<Found> {
  const { paths, signal, onProgress } = context;
  using opened = openForReading(context);
  const marks: Marks = { trees: new Set(), objects: new Set() };
  const doubts: Doubt[] = [];
  const areas = await markInUse(context, opened.catalog, marks, doubts);
  const garbage = unmarkedTrees(paths, marks);
  let looked = 0;
  for await (const object of unmarkedObjects(paths, marks)) {
    signal?.throwIfAborted();
    garbage.push(object);
    onProgress?.({ step: 'looking for garbage', done: ++looked, unit: 'items' });
  }
  return { marks, areas, doubts, garbage };
}

class Collection {
  readonly #context: ServiceContext;
  #objects = 0;
  #trees = 0;
  #freedBytes = 0;
  readonly #leftovers: string[] = [];

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  async removeLeftovers(): Promise<void> {
    // Opening it settles what the journal tells of.
    using opened = await openForWriting(this.#context);
    for (const { path, allocatedBytes, remove } of findLeftovers(this.#context, opened.catalog)) {
      this.#context.signal?.throwIfAborted();
      if (!(await remove())) continue;
      this.#leftovers.push(path);
      this.#freedBytes += allocatedBytes;
    }
  }

  async sweep(): Promise<CollectedGarbage> {
    for (let round = 0; round < MARK_ROUNDS; round++) {
      const generation = await quietGeneration(this.#context);
      const found = await find(this.#context);
      if (found.doubts.length > 0) return this.#result(found);
      if (await this.#sweepFound(found, generation)) return this.#result({ ...found, garbage: [] });
    }
    throw new TemplatefsError('BUSY', 'templates are imported faster than the store can be looked through', {
      hint: 'run it again when there is less to do',
    });
  }

  /** @returns false when the marks do not hold any more: something has to be looked at again */
  async #sweepFound(found: Found, markedIn: number): Promise<boolean> {
    const { onProgress, paths } = this.#context;
    const pending = [...found.garbage].reverse();
    let generation = markedIn;
    let isFirst = true;
    while (pending.length > 0 || (isFirst && listBroken(paths).length > 0)) {
      if (!isFirst) await sleep(PAUSE_MS);
      this.#context.signal?.throwIfAborted();
      using locks = new HeldLocks();
      locks.hold(await lock(this.#context, { name: 'store', what: 'the store', mode: 'exclusive' }));
      locks.hold(await lock(this.#context, { name: 'catalog', what: 'the catalog', mode: 'shared' }));
      using catalog = Catalog.open(paths, 'write');
      if (!(await this.#stillHolds(catalog, found, generation))) return false;
      if (isFirst) {
        noteObjectsChange(catalog);
        generation = objectsGeneration(catalog);
        this.#forgetUnneededNotes(found.marks);
      }
      isFirst = false;
      this.#sweepSlice(pending);
      onProgress?.({ step: 'removing garbage', done: found.garbage.length - pending.length, total: found.garbage.length, unit: 'items' });
    }
    return true;
  }

  /** Under the lock nobody adds objects or copies a private area; whether somebody did since they were marked is seen here. */
  async #stillHolds(catalog: Catalog, { marks, areas }: Found, generation: number): Promise<boolean> {
    if (objectsGeneration(catalog) !== generation) return false;
    for (const [name, identity] of areasInUse(this.#context)) if (areas.get(name) !== identity) return false;
    const doubts: Doubt[] = [];
    const trees = await treesInUse(this.#context, catalog, doubts);
    return doubts.length === 0 && [...trees].every((tree) => marks.trees.has(tree));
  }

  #sweepSlice(pending: Garbage[]): void {
    const deadline = performance.now() + SLICE_MS;
    try {
      const trees = pending.filter(({ kind }) => kind !== 'object').length;
      // All of them in one go, and durably gone before the first object is.
      for (let left = trees; left > 0; left--) this.#remove(pending.pop());
      if (trees > 0) syncFolder(this.#context.paths.trees);
      while (pending.length > 0 && performance.now() < deadline) this.#remove(pending.pop());
    } catch (error) {
      throw storeWriteError(error, this.#context.paths.store);
    }
  }

  #remove(garbage: Garbage | undefined): void {
    if (garbage === undefined || !removeGarbage(garbage)) return;
    if (garbage.kind === 'object') this.#objects++;
    if (garbage.kind === 'tree') this.#trees++;
    this.#freedBytes += garbage.allocatedBytes;
  }

  /** Broken objects that nothing needs are not worth a repair. */
  #forgetUnneededNotes(marks: Marks): void {
    for (const { id } of listBroken(this.#context.paths)) {
      if (!marks.objects.has(formatObjectId(id))) forgetBroken(this.#context.paths, id);
    }
  }

  #result({ doubts, garbage }: Found): CollectedGarbage {
    const kept = [...doubts, ...strangers(this.#context)];
    return {
      dryRun: false,
      objects: this.#objects,
      trees: this.#trees,
      freedBytes: this.#freedBytes,
      leftovers: this.#leftovers,
      kept,
      keptObjects: garbage.filter(({ kind }) => kind === 'object').length,
      keptBytes: sum(garbage),
    };
  }
}

/** They refer to nothing, so they are in nobody's way. */
function strangers({ paths }: ServiceContext): Doubt[] {
  return strangersInStaging(paths).map((path) => ({ name: path, reason: 'it is nothing that templatefs puts there; look at it, then remove it' }));
}

function sum(garbage: readonly { readonly allocatedBytes: number }[]): number {
  return garbage.reduce((total, { allocatedBytes }) => total + allocatedBytes, 0);
}

async function list(context: ServiceContext): Promise<CollectedGarbage> {
  using opened = openForReading(context);
  const leftovers = findLeftovers(context, opened.catalog);
  const { doubts, garbage } = await find(context);
  const objects = garbage.filter(({ kind }) => kind === 'object').map(({ name }) => name);
  const trees = garbage.filter(({ kind }) => kind === 'tree').map(({ name }) => name);
  const isKept = doubts.length > 0;
  return {
    dryRun: true,
    objects: isKept ? 0 : objects.length,
    trees: isKept ? 0 : trees.length,
    freedBytes: sum(leftovers) + (isKept ? 0 : sum(garbage)),
    leftovers: leftovers.map(({ path }) => path),
    kept: [...doubts, ...strangers(context)],
    keptObjects: isKept ? objects.length : 0,
    keptBytes: isKept ? sum(garbage) : 0,
    listed: { objects, trees },
  };
}

/**
 * Removes objects and trees that no template, container or running engine refers to, and what killed commands left. Whatever
 * it cannot look at counts as in use. Mounts and changes in containers go on meanwhile; imports wait for a fraction of a second at a
 * time. Killed at any point it leaves a good store, and the next run goes on.
 *
 * @throws BUSY while an import runs or another collection does, INTERRUPTED, STORE_NOT_WRITABLE, IO_ERROR, BAD_CATALOG,
 *   ENGINE_FAILED
 */
export async function collectGarbage(context: ServiceContext, { dryRun }: CollectOptions): Promise<CollectedGarbage> {
  requireRoot('collect garbage');
  if (dryRun) return list(context);
  using locks = new HeldLocks();
  const collection = new Collection(context);
  await collection.removeLeftovers();
  locks.hold(await lock(context, { name: 'gc', what: 'the collection of garbage', mode: 'exclusive' }));
  return await collection.sweep();
}
