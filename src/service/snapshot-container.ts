import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { formatContainerFile, readContainerFile, type ContainerFile } from '../catalog/container-file.js';
import { formatSnapshotFile, type SnapshotFile } from '../catalog/snapshot-file.js';
import { TemplatefsError } from '../core/errors.js';
import { checkSnapshotId } from '../core/names.js';
import type { StorePaths } from '../core/store-paths.js';
import { copyArea, exchangeFolders } from '../engine/copy-area.js';
import { settledEngineState } from '../engine/engine-state.js';
import { syncFileSystem } from '../store/file-system-writes.js';
import { makeFolder, syncFolder, writeFileDurably } from '../store/write-file-durably.js';
import { lock, type ServiceContext } from './context.js';
import { findTemplate, lockSubject } from './find-record.js';
import { holdContainer } from './hold-container.js';
import { draftArea, draftSnapshot, journaled, moveFolder, trashSnapshot } from './journal.js';
import { findSnapshot, snapshotIds } from './list-snapshots.js';
import { umountLocked } from './umount-container.js';

/*
 * Snapshots are copies of private areas, as docs/snapshots.md says. Each operation has one rename that makes it, under the
 * container's lock. Copies get links to objects, so they are made under the lock `store` (docs/invariants/garbage.md).
 */

export interface SnapshotOptions {
  readonly container: string;
  /** undefined: `snapN`, or the purpose and a number. */
  readonly id?: string;
  /** What needs it, for `snapshot list`; `user` if left out. */
  readonly purpose?: string;
  readonly comment?: string;
}

/** @throws INTEGRITY */
export function requireContainerFile(paths: StorePaths, area: string): ContainerFile {
  const file = readContainerFile(paths.containerFile(area));
  if (file !== undefined) return file;
  throw new TemplatefsError('INTEGRITY', `${area} has lost its settings, ${paths.containerFile(area)}`, {
    hint: 'run `templatefs verify` to see what is broken',
  });
}

/** Pages that programs have stored into by mmap may be known to the kernel only, which gives them to the engine now. */
export async function flushRoot({ paths }: ServiceContext, container: string): Promise<boolean> {
  const found = await settledEngineState(paths, container);
  if (found.state !== 'mounted') return false;
  try {
    await syncFileSystem(found.engine.mountpoint);
  } catch {
    // Mounted where this process cannot see it: what is not written back yet is not in the copy.
  }
  return true;
}

/** `PREFIXn`, with a number above all that there are. */
function nextId(ids: readonly string[], prefix: string): string {
  const numbers = ids.flatMap((id) => (id.startsWith(prefix) && /^\d{1,9}$/.test(id.slice(prefix.length)) ? [Number(id.slice(prefix.length))] : []));
  return `${prefix}${Math.max(-1, ...numbers) + 1}`;
}

/**
 * Keeps a container as it is now: a copy of its private area, at the cost of its entries and of content that is its own. Works
 * while it runs. When this returns the snapshot is durable; when it fails nothing is left of it.
 *
 * @throws USAGE, CONTAINER_NOT_FOUND, SNAPSHOT_EXISTS, BUSY, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function snapshotContainer(context: ServiceContext, options: SnapshotOptions): Promise<SnapshotFile> {
  if (options.id !== undefined) checkSnapshotId(options.id);
  using held = await holdContainer(context, options.container);
  return await snapshotLocked(context, held.catalog, options);
}

/** {@link snapshotContainer} for a caller that holds the container's lock. */
export async function snapshotLocked(context: ServiceContext, catalog: Catalog, options: SnapshotOptions): Promise<SnapshotFile> {
  const { paths, signal } = context;
  const { container, purpose = 'user' } = options;
  using locks = new HeldLocks();
  const ids = snapshotIds(paths, container);
  const id = options.id ?? nextId(ids, purpose === 'user' ? 'snap' : checkSnapshotId(purpose));
  if (ids.includes(id)) {
    throw new TemplatefsError('SNAPSHOT_EXISTS', `container ${container} has a snapshot ${id} already`, {
      hint: 'choose another name, or remove it with `templatefs snapshot remove`',
    });
  }
  const settings = requireContainerFile(paths, container);
  const mounted = await flushRoot(context, container);
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
  let snapshot: SnapshotFile | undefined;
  await journaled(paths, catalog, 'add-snapshot', container, async (entry) => {
    const draft = draftSnapshot(paths, entry);
    makeFolder(paths.snapshots(container));
    const created = new Date().toISOString();
    const { entries, links, files, bytes } = await copyArea(paths, container, draft, signal);
    snapshot = { container, id, created, purpose, comment: options.comment ?? null, mounted, entries, links, files, bytes };
    writeFileDurably(join(draft, 'container'), formatContainerFile(settings));
    writeFileDurably(join(draft, 'snapshot'), formatSnapshotFile(snapshot));
    signal?.throwIfAborted();
    moveFolder(draft, paths.privateArea(`${container}@${id}`), paths.snapshots(container));
  });
  if (snapshot === undefined) throw new Error('a snapshot was made without a record of it');
  return snapshot;
}

export interface SnapshotName {
  readonly container: string;
  readonly id: string;
}

/** Removes a snapshot. @throws CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, BUSY, STORE_NOT_WRITABLE, FAILED */
export async function removeSnapshot(context: ServiceContext, { container, id }: SnapshotName): Promise<SnapshotName> {
  using held = await holdContainer(context, container);
  return await removeSnapshotLocked(context, held.catalog, { container, id });
}

/** {@link removeSnapshot} for a caller that holds the container's lock. */
export async function removeSnapshotLocked({ paths }: ServiceContext, catalog: Catalog, { container, id }: SnapshotName): Promise<SnapshotName> {
  findSnapshot(paths, container, id);
  await journaled(paths, catalog, 'remove-snapshot', container, (entry) => {
    moveFolder(paths.privateArea(`${container}@${id}`), trashSnapshot(paths, entry), paths.snapshots(container));
  });
  return { container, id };
}

export interface RestoredContainer extends SnapshotName {
  /** Names that it has in its private area now. */
  readonly entries: number;
}

/**
 * Makes a container what it was when a snapshot of it was taken: its files, and the tree and template that it stood on. Limits,
 * maps of ids and shared paths stay as they are set now. The snapshot stays. A cut leaves the container as before or as after.
 *
 * @throws CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, TEMPLATE_NOT_FOUND, CONTAINER_MOUNTED, BUSY, NO_SPACE, STORE_NOT_WRITABLE,
 *   IO_ERROR, INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function restoreSnapshot(context: ServiceContext, { container, id }: SnapshotName): Promise<RestoredContainer> {
  using held = await holdContainer(context, container);
  return await restoreLocked(context, held.catalog, { container, id });
}

/** {@link restoreSnapshot} for a caller that holds the container's lock. */
export async function restoreLocked(context: ServiceContext, catalog: Catalog, { container, id }: SnapshotName): Promise<RestoredContainer> {
  const { paths, signal } = context;
  using locks = new HeldLocks();
  findSnapshot(paths, container, id);
  const then = requireContainerFile(paths, `${container}@${id}`);
  locks.hold(await lockSubject(context, catalog, 'template', then.template, 'shared'));
  findTemplate(catalog, then.template);
  await refuseMounted(context, container, locks);
  const now = requireContainerFile(paths, container);
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
  let entries = 0;
  await journaled(paths, catalog, 'restore-container', container, async (entry) => {
    const draft = draftArea(paths, entry);
    ({ entries } = await copyArea(paths, `${container}@${id}`, draft, signal));
    // No inode number is given to another file, whoever remembers it.
    const inos = join(paths.privateArea(container), 'inos');
    if (existsSync(inos)) writeFileDurably(join(draft, 'inos'), readFileSync(inos, 'latin1'));
    writeFileDurably(join(draft, 'container'), formatContainerFile(restoredSettings(now, then)));
    signal?.throwIfAborted();
    await exchangeFolders(draft, paths.privateArea(container));
    syncFolder(paths.privateAreas);
  });
  return { container, id, entries };
}

/** What belongs to the files comes back with them; what the administrator has set stays. */
function restoredSettings(now: ContainerFile, then: ContainerFile): ContainerFile {
  return { ...now, template: then.template, tree: then.tree, other: then.other };
}

/** As for `destroy`: what an `exec` that was killed left mounted is no reason to refuse. */
async function refuseMounted(context: ServiceContext, container: string, locks: HeldLocks): Promise<void> {
  const { paths } = context;
  const found = await settledEngineState(paths, container);
  if (found.state === 'mounted' && !existsSync(paths.temporaryMount(container))) {
    throw new TemplatefsError('CONTAINER_MOUNTED', `container ${container} is mounted at ${found.engine.mountpoint}`, {
      hint: `unmount it first: templatefs umount ${container}`,
    });
  }
  locks.hold(await lock(context, { name: `use-${container}`, what: `container ${container}`, mode: 'exclusive' }));
  await umountLocked(context, container, false);
}
