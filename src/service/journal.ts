import { execFile } from 'node:child_process';
import { existsSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Catalog } from '../catalog/catalog.js';
import { readContainerFile } from '../catalog/container-file.js';
import { HeldLocks, acquireLock } from '../catalog/lock.js';
import { isAlive } from '../catalog/process-identity.js';
import type { JournalEntry, JournalOperation } from '../catalog/records.js';
import { namesIn } from '../store/folder-names.js';
import { readTemplateFile } from '../catalog/template-file.js';
import { syncFolder } from '../store/write-file-durably.js';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { isSubvolume, removeSubvolume } from '../engine/area-folder.js';

/*
 * How a command that changes both files and catalog stays whole. Files are the truth, the catalog follows:
 *
 *   1. a journal entry says what is about to change;
 *   2. one rename (or unlink) makes the change: before it the old state holds, after it the new one;
 *   3. settling makes the catalog agree with the files and removes what is half made or half removed;
 *   4. the journal entry goes.
 *
 * A cut anywhere leaves the entry behind. The next command that writes finds it, sees that its process is gone, and
 * does step 3 and 4. Step 3 looks only at what is there, so doing it twice does no harm.
 */

/** Where a private area is put together. */
export function draftArea(paths: StorePaths, entry: { id: number; subject: string }): string {
  return join(paths.privateAreas, `.new-${entry.id}-${entry.subject}`);
}

/** Where a private area is moved before it is removed. */
export function trashArea(paths: StorePaths, entry: { id: number; subject: string }): string {
  return join(paths.privateAreas, `.trash-${entry.id}-${entry.subject}`);
}

/** Where a snapshot is put together. */
export function draftSnapshot(paths: StorePaths, entry: { id: number; subject: string }): string {
  return join(paths.snapshots(entry.subject), `.new-${entry.id}`);
}

/** Where a snapshot is moved before it is removed. */
export function trashSnapshot(paths: StorePaths, entry: { id: number; subject: string }): string {
  return join(paths.snapshots(entry.subject), `.trash-${entry.id}`);
}

/** Removes the folder of a container's snapshots if there is none left. */
export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
  }
}

/** Removes all snapshots of a container that is no more. */
export async function removeSnapshots(paths: StorePaths, container: string): Promise<void> {
  const folder = paths.snapshots(container);
  // One by one: on btrfs each is a subvolume.
  for (const name of namesIn(folder)) await removeFolder(join(folder, name));
  removeIfEmpty(folder);
}

/**
 * Removes a folder tree with whatever names it holds. Node's own `rm` cannot remove names that are not UTF-8. Never
 * follows a mount into another file system.
 */
export async function removeFolder(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  if (isSubvolume(folder)) {
    try {
      await removeSubvolume(folder);
      return;
    } catch {
      // Then file by file, which says what is in the way.
    }
  }
  try {
    await promisify(execFile)('rm', ['-rf', '--one-file-system', '--', folder]);
  } catch (error) {
    throw new TemplatefsError('FAILED', `cannot remove ${folder}`, {
      hint: 'see what holds it (lsattr, mount, dmesg), then run the command again',
      cause: error,
    });
  }
}

/** What is half made or half removed of a container goes. */
async function clearContainer(paths: StorePaths, entry: Pick<JournalEntry, 'id' | 'subject'>): Promise<void> {
  await removeFolder(draftArea(paths, entry));
  await removeFolder(trashArea(paths, entry));
  const name = entry.subject;
  if (!existsSync(paths.privateArea(name))) await removeSnapshots(paths, name);
}

/** The catalog follows the files. */
function followContainer(paths: StorePaths, catalog: Catalog, name: string): void {
  const file = readContainerFile(paths.containerFile(name));
  const row = catalog.container(name);
  if (file === undefined) {
    catalog.removeContainer(name);
  } else if ((row?.tree !== file.tree || row.template !== file.template) && catalog.template(file.template) !== undefined) {
    catalog.putContainer({ name, template: file.template, tree: file.tree, created: file.created, mountpoint: row?.mountpoint ?? null });
  }
}

async function settleSnapshots(paths: StorePaths, entry: Pick<JournalEntry, 'id' | 'subject'>): Promise<void> {
  await removeFolder(draftSnapshot(paths, entry));
  await removeFolder(trashSnapshot(paths, entry));
  removeIfEmpty(paths.snapshots(entry.subject));
}

function settleTemplate(paths: StorePaths, catalog: Catalog, name: string): void {
  const record = readTemplateFile(paths.templateRecord(name));
  if (record !== undefined) catalog.putTemplate(record);
  else if (catalog.containersOf(name).length === 0) catalog.removeTemplate(name);
}

async function settle(paths: StorePaths, catalog: Catalog, entry: Pick<JournalEntry, 'id' | 'operation' | 'subject'> & Partial<JournalEntry>): Promise<void> {
  switch (entry.operation) {
    case 'create-container':
    case 'clone-container':
    case 'destroy-container':
    case 'restore-container':
      await clearContainer(paths, entry);
      // One transaction: each is an fsync.
      catalog.transaction(() => {
        followContainer(paths, catalog, entry.subject);
        catalog.endJournal(entry.id);
      });
      return;
    case 'add-snapshot':
    case 'remove-snapshot':
      await settleSnapshots(paths, entry);
      break;
    case 'add-template':
    case 'remove-template':
      settleTemplate(paths, catalog, entry.subject);
      break;
    case 'make-container': {
      const { destroyUnfinished } = await import('./unfinished-container.js');
      await destroyUnfinished({ paths }, catalog, entry);
      break;
    }
    case 'change-container': {
      // Not at the top: it stands above what settling is for.
      const { settleTransactions } = await import('./settle-transactions.js');
      await settleTransactions({ paths }, catalog, entry.subject);
      break;
    }
  }
  catalog.endJournal(entry.id);
}

/**
 * Does `change` (steps 1 to 4 above). The caller holds the lock of the container or template. When `change` throws,
 * the half-made things are removed and the error is passed on.
 */
export async function journaled(
  paths: StorePaths,
  catalog: Catalog,
  operation: JournalOperation,
  subject: string,
  change: (entry: { id: number; subject: string }) => void | Promise<void>,
): Promise<void> {
  const entry = { id: catalog.beginJournal(operation, subject), operation, subject };
  let failure: unknown;
  try {
    await change(entry);
  } catch (error) {
    failure = error;
  }
  try {
    await settle(paths, catalog, entry);
  } catch (error) {
    failure ??= error;
  }
  if (failure !== undefined) throw storeWriteError(failure, subject);
}

/** Moves a folder to its new name durably. */
export function moveFolder(from: string, to: string, parent: string): void {
  try {
    renameSync(from, to);
    syncFolder(parent);
  } catch (error) {
    throw storeWriteError(error, to);
  }
}

/** The lock that guards what an operation changes. */
function lockOf(operation: JournalOperation): 'container' | 'template' {
  return operation.endsWith('template') ? 'template' : 'container';
}

/**
 * Finishes or undoes what killed commands left; what a live command is on is left to it.
 *
 * @param held the container or template whose lock the caller holds; only entries about it are settled then
 */
export async function recoverJournal(
  paths: StorePaths,
  catalog: Catalog,
  held?: { readonly kind: 'container' | 'template'; readonly name: string },
): Promise<void> {
  for (const entry of catalog.journal()) {
    if (isAlive({ pid: entry.pid, start: entry.pidStart, boot: entry.boot })) continue;
    const kind = lockOf(entry.operation);
    if (held !== undefined) {
      if (held.kind === kind && held.name === entry.subject) await settle(paths, catalog, entry);
      continue;
    }
    try {
      using locks = new HeldLocks();
      locks.hold(
        await acquireLock({
          paths,
          name: `${kind}-${entry.subject}`,
          what: `${kind} ${entry.subject}`,
          mode: 'exclusive',
          waitMs: 0,
        }),
      );
      await settle(paths, catalog, entry);
    } catch (error) {
      // Another command is already there; or what is left cannot be read: then `verify` names it, and this command,
      // which is perhaps about something else, goes on.
      if (error instanceof TemplatefsError && ['BUSY', 'INTEGRITY', 'FAILED'].includes(error.code)) continue;
      throw error;
    }
  }
}
