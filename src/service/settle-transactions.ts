import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Catalog } from '../catalog/catalog.js';
import { settledEngineState } from '../engine/engine-state.js';
import type { ServiceContext } from './context.js';
import { snapshotIds } from './list-snapshots.js';
import { putBackMounted } from './put-back-mounted.js';
import { removeSnapshotLocked, restoreLocked } from './snapshot-container.js';

/** The snapshot that a transaction begins with. */
export function transactionSnapshot(id: number): string {
  return `transaction-${id}`;
}

/**
 * Makes a container what it was before a transaction: a stopped one by exchanging its private area for the snapshot, a mounted one by
 * putting back the paths that differ. The caller holds the container's lock.
 */
export async function undoTransaction(context: ServiceContext, catalog: Catalog, container: string, id: number): Promise<void> {
  const { paths } = context;
  const snapshot = { container, id: transactionSnapshot(id) };
  // Without the snapshot nothing was changed yet.
  if (!snapshotIds(paths, container).includes(snapshot.id)) return;
  const found = await settledEngineState(paths, container);
  if (found.state === 'mounted' && !existsSync(paths.temporaryMount(container))) await putBackMounted(context, catalog, { ...snapshot, root: found.engine.mountpoint, ids: found.engine.ids });
  else await restoreLocked(context, catalog, snapshot);
}

/** The sandbox of a command that was killed ends about a second after it. */
const SANDBOX_END_MS = 2_000;

/** Undoes what a killed command has left of transactions. The caller holds the container's lock. */
export async function settleTransactions(context: ServiceContext, catalog: Catalog, container: string): Promise<void> {
  for (const { id, state } of catalog.transactions(container)) {
    if (state !== 'running') continue;
    // In a stopped container whatever is left keeps the root from being unmounted; in a mounted one nothing would tell.
    if ((await settledEngineState(context.paths, container)).state === 'mounted') await sleep(SANDBOX_END_MS);
    await undoTransaction(context, catalog, container, id);
    catalog.setTransaction(id, { state: 'undone', ended: new Date().toISOString() });
    if (snapshotIds(context.paths, container).includes(transactionSnapshot(id))) await removeSnapshotLocked(context, catalog, { container, id: transactionSnapshot(id) });
  }
}
