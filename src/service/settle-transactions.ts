import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Catalog } from '../catalog/catalog.js';
import type { TransactionRecord } from '../catalog/records.js';
import { settledEngineState } from '../engine/engine-state.js';
import { changedPaths, fingerprints, isRebuilt, type PathChange } from './area-fingerprint.js';
import type { ServiceContext } from './context.js';
import { snapshotIds } from './list-snapshots.js';
import { mountLocked } from './mount-container.js';
import { putBackMounted } from './put-back-mounted.js';
import { removeSnapshotLocked, restoreLocked, type SnapshotName } from './snapshot-container.js';
import { umountLocked } from './umount-container.js';

/** The snapshot that a transaction begins with. */
export function transactionSnapshot(id: number): string {
  return `transaction-${id}`;
}

/** What it wrote, if it was done and is being rolled back; undefined: it was never done, so all that changed since it began is its own. */
function writtenBy({ ended, paths }: TransactionRecord): ReadonlySet<string> | undefined {
  return ended === null ? undefined : new Set((JSON.parse(paths) as PathChange[]).map(([path]) => path));
}

/** Whether paths that are not of the transaction have changed since it began. */
async function hasOtherChanges(context: ServiceContext, { container, id }: SnapshotName, written: ReadonlySet<string>): Promise<boolean> {
  const changes = changedPaths(await fingerprints(context, `${container}@${id}`), await fingerprints(context, container));
  return changes.some((change) => !written.has(change[0]) && !isRebuilt(change));
}

async function undoStopped(context: ServiceContext, catalog: Catalog, snapshot: SnapshotName, written: ReadonlySet<string> | undefined): Promise<void> {
  if (written === undefined || !(await hasOtherChanges(context, snapshot, written))) {
    await restoreLocked(context, catalog, snapshot);
    return;
  }
  // It was mounted when the rollback began, and something else has changed other paths, which stay.
  const { root, ids } = await mountLocked(context, { name: snapshot.container, temporary: true });
  try {
    await putBackMounted(context, catalog, { ...snapshot, root, ids, paths: written });
  } finally {
    await umountLocked(context, snapshot.container, false);
  }
}

/**
 * Makes a container what it was before a transaction: a stopped one by exchanging its private area for the snapshot, a mounted one by
 * putting back the paths that differ. The caller holds the container's lock.
 */
export async function undoTransaction(context: ServiceContext, catalog: Catalog, transaction: TransactionRecord): Promise<void> {
  const { paths } = context;
  const { container } = transaction;
  const snapshot = { container, id: transactionSnapshot(transaction.id) };
  // Without the snapshot nothing was changed yet.
  if (!snapshotIds(paths, container).includes(snapshot.id)) return;
  const written = writtenBy(transaction);
  const found = await settledEngineState(paths, container);
  if (found.state !== 'mounted' || existsSync(paths.temporaryMount(container))) {
    await undoStopped(context, catalog, snapshot, written);
    return;
  }
  await putBackMounted(context, catalog, { ...snapshot, root: found.engine.mountpoint, ids: found.engine.ids, ...(written !== undefined && { paths: written }) });
}

/** When it was undone its snapshot is not needed; what has its journal entry still open removes it. */
export async function removeUndoneSnapshot(context: ServiceContext, catalog: Catalog, container: string, id: number): Promise<void> {
  const snapshot = { container, id: transactionSnapshot(id) };
  if (snapshotIds(context.paths, container).includes(snapshot.id)) await removeSnapshotLocked(context, catalog, snapshot);
}

/** The sandbox of a command that was killed ends about a second after it. */
const SANDBOX_END_MS = 2_000;

/** Undoes what a killed command has left of transactions. The caller holds the container's lock. */
export async function settleTransactions(context: ServiceContext, catalog: Catalog, container: string): Promise<void> {
  for (const transaction of catalog.transactions(container)) {
    const { id, state } = transaction;
    if (state === 'done') continue;
    if (state === 'running') {
      // In a stopped container whatever is left keeps the root from being unmounted; in a mounted one nothing would tell.
      if ((await settledEngineState(context.paths, container)).state === 'mounted') await sleep(SANDBOX_END_MS);
      await undoTransaction(context, catalog, transaction);
      catalog.setTransaction(id, { state: 'undone', ended: new Date().toISOString() });
    }
    await removeUndoneSnapshot(context, catalog, container, id);
  }
}
