import { existsSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import type { TransactionRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { settledEngineState } from '../engine/engine-state.js';
import { changedPaths, fingerprints, isRebuilt, type Fingerprints, type PathChange } from './area-fingerprint.js';
import { lock, openForReading, openForWriting, type ServiceContext } from './context.js';
import { findContainer, lockSubject } from './find-record.js';
import { snapshotIds } from './list-snapshots.js';
import { removeUndoneSnapshot, transactionSnapshot, undoTransaction } from './settle-transactions.js';

export interface RollBackOptions {
  readonly name: string;
  /** undefined: the last one. */
  readonly transaction?: number;
  /** Also what was changed since. */
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

export interface RolledBack {
  readonly name: string;
  readonly transaction: number;
  readonly operation: TransactionRecord['operation'];
  /** Paths that are as before it. */
  readonly paths: number;
  /** Paths of its that something else has changed since; only with `force` they are put back too. */
  readonly changedSince: readonly string[];
  readonly dryRun: boolean;
}

const SHOWN = 5;

function choose(context: ServiceContext, catalog: Catalog, { name, transaction }: RollBackOptions): TransactionRecord {
  const done = catalog.transactions(name).filter(({ state }) => state === 'done');
  const found = transaction === undefined ? done.at(-1) : done.find(({ id }) => id === transaction);
  if (found === undefined) {
    throw new TemplatefsError('FAILED', transaction === undefined ? `container ${name} has no transaction to undo` : `container ${name} has no transaction ${transaction} that could be undone`, {
      hint: done.length === 0 ? 'what was installed before transactions were kept cannot be undone: remove it' : `there are: ${done.map(({ id, operation }) => `${id} (${operation})`).join(', ')}`,
    });
  }
  if (!snapshotIds(context.paths, name).includes(transactionSnapshot(found.id))) {
    throw new TemplatefsError('FAILED', `what ${name} was before transaction ${found.id} is kept no more`, { hint: 'only the last few transactions can be undone' });
  }
  return found;
}

/** A rollback that was cut short, and is finished when the catalog is opened to write. */
function cutShort(context: ServiceContext, { name, transaction }: RollBackOptions): TransactionRecord | undefined {
  using opened = openForReading(context);
  const found = opened.catalog.transactions(name).find(({ state, ended }) => state === 'running' && ended !== null);
  return transaction === undefined || transaction === found?.id ? found : undefined;
}

/** Inodes of names show as UTF-8 in messages. */
function readable(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}

/**
 * Undoes an install, update or remove: every path that it changed becomes what it was, package database included. Paths that were changed
 * by something else since are an obstacle, which is named.
 *
 * @throws CONTAINER_NOT_FOUND, FAILED (nothing to undo, or changed since), BUSY, NO_SPACE
 */
export async function rollBack(context: ServiceContext, options: RollBackOptions): Promise<RolledBack> {
  const { paths } = context;
  const { name } = options;
  const begun = cutShort(context, options);
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findContainer(catalog, name);
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: `packages-${name}`, what: `the packages of container ${name}`, mode: 'exclusive' }));
  locks.hold(await lockSubject(context, catalog, 'container', name));
  const result = ({ id, operation, paths: written }: TransactionRecord, changedSince: readonly string[]): RolledBack => ({
    name, transaction: id, operation, paths: (JSON.parse(written) as PathChange[]).length, changedSince: changedSince.map(readable), dryRun: options.dryRun === true,
  });
  // Not the one before it.
  if (begun !== undefined && catalog.transactions(name).some(({ id, state }) => id === begun.id && state === 'undone')) return result(begun, []);
  const transaction = choose(context, catalog, options);
  const written = JSON.parse(transaction.paths) as PathChange[];
  const now = await fingerprints(context, name);
  const changedSince = written.filter((change) => !isRebuilt(change) && (now.get(change[0]) ?? null) !== change[2]).map(([path]) => path);
  if (options.dryRun === true) return result(transaction, changedSince);
  if (changedSince.length > 0 && options.force !== true) {
    const some = changedSince.slice(0, SHOWN).map(readable).join(', ');
    throw new TemplatefsError('FAILED', `${changedSince.length} paths of transaction ${transaction.id} were changed since by something else: ${some}${changedSince.length > SHOWN ? ', …' : ''}`, {
      hint: `see all with --dry-run --json; undo it all the same with --force, or remove the packages: templatefs remove ${name}`,
    });
  }
  const found = await settledEngineState(paths, name);
  const isMounted = found.state === 'mounted' && !existsSync(paths.temporaryMount(name));
  const countOf = (changes: readonly PathChange[]): number => changes.filter((change) => !isRebuilt(change)).length;
  const others = countOf(changedPaths(await fingerprints(context, `${name}@${transactionSnapshot(transaction.id)}`), now)) - countOf(written);
  if (!isMounted && others > 0) {
    throw new TemplatefsError('FAILED', `other paths of ${name} were changed since transaction ${transaction.id}, so only its own can be put back, and that needs a mounted container`, {
      hint: `templatefs mount ${name}, then: templatefs rollback ${name} ${transaction.id}`,
    });
  }
  await undoDone(context, catalog, transaction, now);
  return result(transaction, changedSince);
}

/** A cut anywhere leaves the journal's entry, and the next command finishes it. */
async function undoDone(context: ServiceContext, catalog: Catalog, transaction: TransactionRecord, before: Fingerprints): Promise<void> {
  const { id, container } = transaction;
  const journal = catalog.transaction(() => {
    catalog.setTransaction(id, { state: 'running' });
    return catalog.beginJournal('change-container', container);
  });
  try {
    await undoTransaction(context, catalog, transaction);
  } catch (error) {
    // When some paths have been put back, the next command goes on with it.
    const now = await fingerprints(context, container).catch(() => undefined);
    if (now !== undefined && changedPaths(before, now).length === 0) {
      catalog.transaction(() => {
        catalog.setTransaction(id, { state: 'done' });
        catalog.endJournal(journal);
      });
    }
    throw error;
  }
  catalog.setTransaction(id, { state: 'undone', ended: new Date().toISOString() });
  await removeUndoneSnapshot(context, catalog, container, id);
  catalog.endJournal(journal);
}
