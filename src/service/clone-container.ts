import { join } from 'node:path';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { formatContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import { checkContainerName } from '../core/names.js';
import { copyArea } from '../engine/copy-area.js';
import { syncFolder, writeFileDurably } from '../store/write-file-durably.js';
import { lock, type ServiceContext } from './context.js';
import { findContainer, findTemplate, lockSubject } from './find-record.js';
import { holdContainer } from './hold-container.js';
import { draftArea, journaled, moveFolder } from './journal.js';
import { findSnapshot } from './list-snapshots.js';
import { flushRoot, requireContainerFile } from './snapshot-container.js';

export interface CloneOptions {
  /** A container, or `CT@ID` for one of its snapshots. */
  readonly from: string;
  readonly name: string;
  /** ISO 8601; now if left out. */
  readonly created?: string;
}

export interface ClonedContainer {
  readonly name: string;
  readonly from: string;
  readonly ostemplate: string;
  readonly tree: string;
  readonly created: string;
  readonly entries: number;
  /** Content that had to be copied, or was reflinked. */
  readonly bytes: number;
}

/**
 * Makes a container that is equal to another one, or to a snapshot, and independent of it: same settings, same files, same inode
 * numbers. Costs what the other's private area has entries and content of its own. Works while it runs.
 *
 * @throws USAGE, CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, CONTAINER_EXISTS, TEMPLATE_NOT_FOUND, BUSY, NO_SPACE,
 *   STORE_NOT_WRITABLE, IO_ERROR, INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function cloneContainer(context: ServiceContext, options: CloneOptions): Promise<ClonedContainer> {
  const [container = ''] = options.from.split('@');
  checkContainerName(options.name);
  using held = await holdContainer(context, container);
  const { catalog } = held;
  return await cloneLocked(context, catalog, options);
}

/** The same when the caller holds the lock of the container that is cloned. */
export async function cloneLocked(context: ServiceContext, catalog: Catalog, options: CloneOptions): Promise<ClonedContainer> {
  const { paths, signal } = context;
  const { from } = options;
  const name = checkContainerName(options.name);
  const [container = '', id] = from.split('@');
  using locks = new HeldLocks();
  findContainer(catalog, container);
  if (id !== undefined) findSnapshot(paths, container, id);
  if (name !== container) locks.hold(await lockSubject(context, catalog, 'container', name));
  if (catalog.container(name) !== undefined) {
    throw new TemplatefsError('CONTAINER_EXISTS', `there is a container ${name} already`, {
      hint: 'choose another name, or remove it with `templatefs destroy`',
    });
  }
  const settings = requireContainerFile(paths, from);
  locks.hold(await lockSubject(context, catalog, 'template', settings.template, 'shared'));
  findTemplate(catalog, settings.template);
  if (id === undefined) await flushRoot(context, container);
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
  const { created = new Date().toISOString() } = options;
  let copied = { entries: 0, bytes: 0 };
  await journaled(paths, catalog, 'clone-container', name, async (entry) => {
    const draft = draftArea(paths, entry);
    copied = await copyArea(paths, from, draft, signal);
    writeFileDurably(join(draft, 'container'), formatContainerFile({ ...settings, name, created }));
    syncFolder(draft);
    signal?.throwIfAborted();
    moveFolder(draft, paths.privateArea(name), paths.privateAreas);
  });
  return { name, from, ostemplate: settings.template, tree: settings.tree, created, entries: copied.entries, bytes: copied.bytes };
}
