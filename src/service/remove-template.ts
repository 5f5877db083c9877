import { removeFileDurably } from '../store/write-file-durably.js';
import { HeldLocks } from '../catalog/lock.js';
import type { Catalog } from '../catalog/catalog.js';
import { readContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { refuseOfContainerd } from './containerd-use.js';
import { openForWriting, type ServiceContext } from './context.js';
import { findTemplate, lockSubject } from './find-record.js';
import { journaled, recoverJournal } from './journal.js';
import { snapshotsInStore } from './list-snapshots.js';

export interface RemoveTemplateOptions {
  readonly name: string;
  /** Checks everything and changes nothing. */
  readonly dryRun?: boolean;
}

export interface RemovedTemplate {
  readonly name: string;
  readonly removed: boolean;
}

function refuseSnapshots(paths: StorePaths, name: string): void {
  const snapshots = snapshotsInStore(paths).filter((snapshot) => templateOf(paths, snapshot) === name);
  if (snapshots.length > 0) {
    throw new TemplatefsError('TEMPLATE_IN_USE', `template ${name} is used by ${snapshots.length === 1 ? 'snapshot' : 'snapshots'} ${snapshots.slice(0, 5).join(', ')}${snapshots.length > 5 ? ` and ${snapshots.length - 5} more` : ''}`, {
      hint: 'remove them first: templatefs snapshot remove CT ID, or destroy their containers',
    });
  }
}

/** Containers that are in their place, and that the catalog does not know of yet. */
function unsettledOn(paths: StorePaths, catalog: Catalog, name: string): string[] {
  return catalog.journal().map(({ subject }) => subject).filter((subject) => templateOf(paths, subject) === name);
}

function refuseInUse(context: ServiceContext, catalog: Catalog, name: string): void {
  const users = [...new Set([...catalog.containersOf(name), ...unsettledOn(context.paths, catalog, name)])];
  if (users.length === 0) {
    refuseSnapshots(context.paths, name);
    return;
  }
  const shown = users.slice(0, 5).join(', ') + (users.length > 5 ? ` and ${users.length - 5} more` : '');
  throw new TemplatefsError('TEMPLATE_IN_USE', `template ${name} is used by ${users.length === 1 ? 'container' : 'containers'} ${shown}`, {
    hint: 'destroy them first: templatefs destroy CT',
  });
}

/** The template that a snapshot stands on; undefined if its settings cannot be read: `verify` names those. */
function templateOf(paths: StorePaths, snapshot: string): string | undefined {
  try {
    return readContainerFile(paths.containerFile(snapshot))?.template;
  } catch {
    return undefined;
  }
}

/**
 * Removes a template that no container uses. Its tree and objects stay in the store until garbage is collected, as
 * other templates may share them.
 *
 * @throws TEMPLATE_NOT_FOUND, TEMPLATE_IN_USE, BUSY, STORE_NOT_WRITABLE
 */
export async function removeTemplate(context: ServiceContext, options: RemoveTemplateOptions): Promise<RemovedTemplate> {
  const { name, dryRun = false } = options;
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findTemplate(catalog, name);
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'template', name));
  findTemplate(catalog, name);
  // Whoever was making a container on it while this command waited may have been killed: nobody else would settle that before it is gone.
  await recoverJournal(context.paths, catalog);
  refuseOfContainerd(context.paths, 'template', name);
  refuseInUse(context, catalog, name);
  if (dryRun) return { name, removed: false };
  await journaled(context.paths, catalog, 'remove-template', name, () => {
    removeFileDurably(context.paths.templateRecord(name));
  });
  return { name, removed: true };
}
