import { existsSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import type { TransactionRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { settledEngineState } from '../engine/engine-state.js';
import { changedPaths, fingerprints, type PathChange } from './area-fingerprint.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { findContainer, lockSubject } from './find-record.js';
import { snapshotIds } from './list-snapshots.js';
import { putBackMounted } from './put-back-mounted.js';
import { transactionSnapshot } from './settle-transactions.js';
import { removeSnapshotLocked, restoreLocked } from './snapshot-container.js';

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

/**
 * The index that SQLite keeps beside a write-ahead log: it has no data, is made anew by whoever opens the database first, and is
 * written by every reader. rpm's database has one, so a mere `rpm -q` changes it.
 */
function isRebuilt([path]: PathChange): boolean {
  return path.endsWith('.sqlite-shm');
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
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findContainer(catalog, name);
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: `packages-${name}`, what: `the packages of container ${name}`, mode: 'exclusive' }));
  locks.hold(await lockSubject(context, catalog, 'container', name));
  const transaction = choose(context, catalog, options);
  const written = JSON.parse(transaction.paths) as PathChange[];
  const now = await fingerprints(context, name);
  const changedSince = written.filter((change) => !isRebuilt(change) && (now.get(change[0]) ?? null) !== change[2]).map(([path]) => path);
  const result = (): RolledBack => ({
    name, transaction: transaction.id, operation: transaction.operation, paths: written.length, changedSince: changedSince.map(readable), dryRun: options.dryRun === true,
  });
  if (options.dryRun === true) return result();
  if (changedSince.length > 0 && options.force !== true) {
    const some = changedSince.slice(0, SHOWN).map(readable).join(', ');
    throw new TemplatefsError('FAILED', `${changedSince.length} paths of transaction ${transaction.id} were changed since by something else: ${some}${changedSince.length > SHOWN ? ', …' : ''}`, {
      hint: `see all with --dry-run --json; undo it all the same with --force, or remove the packages: templatefs remove ${name}`,
    });
  }
  const snapshot = { container: name, id: transactionSnapshot(transaction.id) };
  const found = await settledEngineState(paths, name);
  const isMounted = found.state === 'mounted' && !existsSync(paths.temporaryMount(name));
  const countOf = (changes: readonly PathChange[]): number => changes.filter((change) => !isRebuilt(change)).length;
  const others = countOf(changedPaths(await fingerprints(context, `${name}@${snapshot.id}`), now)) - countOf(written);
  // The journal entry makes a cut harmless: the next command does it again.
  if (!isMounted && others <= 0) {
    await restoreLocked(context, catalog, snapshot);
  } else {
    const root = isMounted ? { root: found.engine.mountpoint, ids: found.engine.ids } : undefined;
    if (root === undefined) {
      throw new TemplatefsError('FAILED', `other paths of ${name} were changed since transaction ${transaction.id}, so only its own can be put back, and that needs a mounted container`, {
        hint: `templatefs mount ${name}, then: templatefs rollback ${name} ${transaction.id}`,
      });
    }
    await putBackMounted(context, catalog, { ...snapshot, ...root, paths: new Set(written.map(([path]) => path)) });
  }
  catalog.setTransaction(transaction.id, { state: 'undone', ended: new Date().toISOString() });
  await removeSnapshotLocked(context, catalog, snapshot);
  return result();
}
