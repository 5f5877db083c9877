import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { Catalog } from '../catalog/catalog.js';
import { acquireLock, type HeldLock, type LockOptions } from '../catalog/lock.js';
import type { EngineLauncher } from '../engine/engine-launcher.js';
import { makeFolder, syncFolder } from '../store/write-file-durably.js';
import { TemplatefsError, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { recoverJournal } from './journal.js';

/** How far a long step has come. Totals that are not known are left out. */
export interface Progress {
  /** What is being done: `importing`, `checking objects`. */
  readonly step: string;
  readonly done: number;
  readonly total?: number;
  readonly unit: 'bytes' | 'items';
}

/** What every use case gets from its caller. */
export interface ServiceContext {
  readonly paths: StorePaths;
  /** Aborted with an INTERRUPTED error when the user gives up. */
  readonly signal?: AbortSignal;
  /** How long to wait for locks of other commands; a moment if left out. */
  readonly waitMs?: number;
  readonly onProgress?: (progress: Progress) => void;
  /** Something that a person should know and that is no error. */
  readonly onNotice?: (text: string) => void;
  /** A line that a program run on the user's behalf has written. */
  readonly onLog?: (line: string) => void;
  /** Starts engines for a process that lives long and mounts often. */
  readonly launcher?: EngineLauncher;
}

/** Whoever changes a store makes mounts, owners and devices: that takes root. @throws FAILED */
export function requireRoot(what: string): void {
  if (process.geteuid?.() === 0) return;
  throw new TemplatefsError('FAILED', `only root can ${what}`, { hint: 'run the command with sudo' });
}

/** Makes the folders of a store. What is there is left as it is. */
function prepareStore(paths: StorePaths): void {
  const isNew = !existsSync(paths.store);
  try {
    // Others may pass through to mounted roots, and see nothing else.
    makeFolder(paths.store, 0o711);
    makeFolder(paths.roots, 0o711);
    for (const folder of [paths.objects, paths.staging, paths.trees, paths.templates, paths.privateAreas, paths.runs, paths.locks]) {
      makeFolder(folder);
    }
    if (isNew) {
      syncFolder(paths.store);
      syncFolder(dirname(paths.store));
    }
  } catch (error) {
    throw storeWriteError(error, `the store ${paths.store}`);
  }
}

/** Takes a lock with the caller's patience. @throws BUSY, STORE_NOT_WRITABLE, INTERRUPTED */
export function lock(
  context: ServiceContext,
  options: Pick<LockOptions, 'name' | 'what' | 'mode'> & { readonly waitMs?: number },
): Promise<HeldLock> {
  const waitMs = options.waitMs ?? context.waitMs;
  return acquireLock({
    paths: context.paths,
    name: options.name,
    what: options.what,
    mode: options.mode,
    ...(waitMs !== undefined && { waitMs }),
    ...(context.signal !== undefined && { signal: context.signal }),
  });
}

/** An open catalog; closing it also lets go of what guards it. */
export interface OpenCatalog extends Disposable {
  readonly catalog: Catalog;
}

/**
 * Opens the catalog to read. Works on a store that cannot be written, and gives an empty catalog where there is none.
 *
 * @throws BAD_CATALOG, IO_ERROR
 */
export function openForReading(context: ServiceContext): OpenCatalog {
  const catalog = Catalog.open(context.paths, 'read');
  return { catalog, [Symbol.dispose]: () => { catalog.close(); } };
}

/** For what comes after something that is done, or has failed, already: it stays that, and a failure here is only told. @param what is told */
export async function orTell<Result>(context: ServiceContext, what: string, work: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await work();
  } catch (error) {
    context.onNotice?.(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/**
 * Opens the catalog to change it, makes the store if there is none, and finishes or undoes what killed commands left.
 * Not to be held over long steps: `catalog rebuild` waits for it.
 *
 * @throws BAD_CATALOG, STORE_NOT_WRITABLE, NO_SPACE, BUSY, FAILED (not root)
 */
export async function openForWriting(context: ServiceContext): Promise<OpenCatalog> {
  requireRoot('change a store');
  prepareStore(context.paths);
  const guard = await lock(context, { name: 'catalog', what: 'the catalog', mode: 'shared' });
  let catalog: Catalog | undefined;
  try {
    catalog = Catalog.open(context.paths, 'write');
    await recoverJournal(context.paths, catalog);
    const opened = catalog;
    return {
      catalog: opened,
      [Symbol.dispose]: () => {
        opened.close();
        guard.release();
      },
    };
  } catch (error) {
    catalog?.close();
    guard.release();
    throw error;
  }
}
