import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { openForWriting, type OpenCatalog, type ServiceContext } from './context.js';
import { findContainer, lockSubject } from './find-record.js';

/** A container that exists, the lock of which is held until this is disposed of. */
export class HeldContainer {
  readonly #opened: OpenCatalog;
  /** Further locks of the same command are let go of before. */
  readonly locks: HeldLocks;

  constructor(opened: OpenCatalog, locks: HeldLocks) {
    this.#opened = opened;
    this.locks = locks;
  }

  get catalog(): Catalog {
    return this.#opened.catalog;
  }

  [Symbol.dispose](): void {
    this.locks[Symbol.dispose]();
    this.#opened[Symbol.dispose]();
  }
}

/** @throws CONTAINER_NOT_FOUND, BUSY, INTERRUPTED, STORE_NOT_WRITABLE */
export async function holdContainer(context: ServiceContext, name: string): Promise<HeldContainer> {
  const opened = await openForWriting(context);
  const locks = new HeldLocks();
  try {
    findContainer(opened.catalog, name);
    locks.hold(await lockSubject(context, opened.catalog, 'container', name));
    // It may have gone while this command waited.
    findContainer(opened.catalog, name);
    return new HeldContainer(opened, locks);
  } catch (error) {
    locks[Symbol.dispose]();
    opened[Symbol.dispose]();
    throw error;
  }
}
