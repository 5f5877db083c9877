import { HeldLocks, acquireLock } from '../catalog/lock.js';
import { Catalog } from '../catalog/catalog.js';
import { TemplatefsError } from '../core/errors.js';
import { objectUsage } from '../store/object-usage.js';
import type { ServiceContext } from './context.js';

/*
 * How much all objects take on the disk. Walking over them costs what the store holds, so the sum is kept in the
 * catalog until objects come or go: whoever is about to change them raises `objects.generation` first, and a sum
 * counts only for the generation that it was taken in. A sum is kept only if no import ran while it was taken (the
 * lock `store` says so), so one that is killed leaves no wrong sum behind.
 */
const GENERATION = 'objects.generation';
const TAKEN_IN = 'objects.totals-generation';
const COUNT = 'objects.count';
const ALLOCATED = 'objects.allocated-bytes';

export interface ObjectTotals {
  readonly objects: number;
  readonly allocatedBytes: number;
}

/** Changes whenever objects are about to come or go. */
export function objectsGeneration(catalog: Catalog): number {
  return catalog.counter(GENERATION);
}

/** A change of the store's objects that has begun. */
export interface ObjectsChange {
  readonly generation: number;
  /** What was counted before it, if that held. */
  readonly before: ObjectTotals | undefined;
}

/** To be called before objects are added or removed. */
export function noteObjectsChange(catalog: Catalog): ObjectsChange {
  return catalog.transaction(() => {
    const before = keptObjectTotals(catalog);
    const generation = catalog.counter(GENERATION) + 1;
    catalog.setCounters({ [GENERATION]: generation });
    return { generation, before };
  });
}

/**
 * Carries the sum on over a change that knows what it has added, and still holds the lock `store`: then nothing was removed, and whoever else adds
 * has raised the generation, or was at it before, so that there was no sum.
 */
export function keepTotalsAfter({ generation, before }: ObjectsChange, added: ObjectTotals, catalog: Catalog): void {
  if (before === undefined) return;
  catalog.transaction(() => {
    if (catalog.counter(GENERATION) !== generation) return;
    keep(catalog, generation, { objects: before.objects + added.objects, allocatedBytes: before.allocatedBytes + added.allocatedBytes });
  });
}

function keep(catalog: Catalog, generation: number, { objects, allocatedBytes }: ObjectTotals): void {
  catalog.setCounters({ [TAKEN_IN]: generation, [COUNT]: objects, [ALLOCATED]: allocatedBytes });
}

/** What was counted before, if it still holds. */
export function keptObjectTotals(catalog: Catalog): ObjectTotals | undefined {
  const generation = catalog.counter(GENERATION);
  if (generation === 0 || catalog.counter(TAKEN_IN) !== generation) return undefined;
  return { objects: catalog.counter(COUNT), allocatedBytes: catalog.counter(ALLOCATED) };
}

/** How much the objects of a store take. @throws IO_ERROR, BAD_CATALOG */
export async function objectTotals(context: ServiceContext, catalog: Catalog): Promise<ObjectTotals> {
  return keptObjectTotals(catalog) ?? (await takeAndKeep(context, catalog.counter(GENERATION))) ?? take(context);
}

async function take({ paths }: ServiceContext): Promise<ObjectTotals> {
  const { objects, allocatedBytes } = await objectUsage(paths);
  return { objects, allocatedBytes };
}

/** @returns undefined where the sum cannot be kept: the store is read-only, or an import is running */
async function takeAndKeep(context: ServiceContext, generation: number): Promise<ObjectTotals | undefined> {
  try {
    using locks = new HeldLocks();
    locks.hold(await acquireLock({ paths: context.paths, name: 'store', what: 'the store', mode: 'exclusive', waitMs: 0 }));
    const totals = await take(context);
    using catalog = Catalog.open(context.paths, 'write');
    if (catalog.counter(GENERATION) === generation) keep(catalog, generation, totals);
    return totals;
  } catch (error) {
    if (error instanceof TemplatefsError && ['BUSY', 'STORE_NOT_WRITABLE', 'NO_SPACE'].includes(error.code)) return undefined;
    throw error;
  }
}
