import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import type { TransactionRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { controlRequest } from '../engine/control-client.js';
import { settledEngineState } from '../engine/engine-state.js';
import type { PackageChange } from '../packages/package-manager.js';
import { FileSystemWrites } from '../store/file-system-writes.js';
import { changedPaths, fingerprints } from './area-fingerprint.js';
import { openForWriting, type ServiceContext } from './context.js';
import { lockSubject } from './find-record.js';
import { snapshotIds } from './list-snapshots.js';
import { removeUndoneSnapshot, transactionSnapshot, undoTransaction } from './settle-transactions.js';
import { removeSnapshotLocked, snapshotContainer } from './snapshot-container.js';

/*
 * A transaction: journal row → snapshot → changes → one write of the catalog that ends it. Whoever finds the row of a
 * process that is gone puts the snapshot back (settle-transactions.ts). The snapshots of the last ones stay, for `rollback`.
 */

/** Transactions of a container that can be undone later. */
const SNAPSHOTS_KEPT = 3;

/** How long the end of a transaction waits for others that look at the container. */
const PATIENCE_MS = 60_000;

export interface BeginOptions {
  readonly container: string;
  readonly operation: TransactionRecord['operation'];
  readonly request: unknown;
}

/** Ids that snapshots of transactions have, also those of a catalog that was lost. */
function leastId(context: ServiceContext, container: string): number {
  const ids = snapshotIds(context.paths, container).map((id) => Number(/^transaction-(\d{1,9})$/.exec(id)?.[1] ?? 0));
  return Math.max(0, ...ids) + 1;
}

async function removeOld(context: ServiceContext, catalog: Catalog, container: string): Promise<void> {
  const done = catalog.transactions(container).filter(({ state }) => state === 'done').map(({ id }) => transactionSnapshot(id));
  const there = snapshotIds(context.paths, container);
  for (const id of done.slice(0, -SNAPSHOTS_KEPT)) if (there.includes(id)) await removeSnapshotLocked(context, catalog, { container, id });
}

export class PackageTransaction {
  readonly id: number;
  readonly #context: ServiceContext;
  readonly #container: string;
  readonly #journal: number;
  readonly #writes: FileSystemWrites;

  private constructor(context: ServiceContext, container: string, begun: { id: number; journal: number }, writes: FileSystemWrites) {
    this.#context = context;
    this.#container = container;
    this.id = begun.id;
    this.#journal = begun.journal;
    this.#writes = writes;
  }

  /** @throws BUSY, NO_SPACE, STORE_NOT_WRITABLE, INTERRUPTED; FAILED when one before cannot be undone */
  static async begin(context: ServiceContext, options: BeginOptions): Promise<PackageTransaction> {
    const { container } = options;
    const writes = FileSystemWrites.begin(context.paths.privateArea(container));
    const begun = await (async () => {
      using opened = await openForWriting(context);
      using locks = new HeldLocks();
      locks.hold(await lockSubject({ ...context, waitMs: PATIENCE_MS }, opened.catalog, 'container', container));
      const unfinished = opened.catalog.transactions(container).find(({ state }) => state === 'running');
      if (unfinished !== undefined) {
        throw new TemplatefsError('FAILED', `transaction ${unfinished.id} of ${container} was cut short and could not be undone yet`, {
          hint: `see why with: templatefs rollback ${container} ${unfinished.id}`,
        });
      }
      return opened.catalog.beginTransaction({ container, operation: options.operation, request: JSON.stringify(options.request) }, leastId(context, container));
    })().catch((error: unknown) => {
      writes[Symbol.dispose]();
      throw error;
    });
    const transaction = new PackageTransaction(context, container, begun, writes);
    try {
      await snapshotContainer({ ...context, waitMs: PATIENCE_MS }, { container, id: transactionSnapshot(begun.id), purpose: 'transaction', comment: options.operation });
      return transaction;
    } catch (error) {
      // If that fails, too, the journal's entry stays, and the next command does it.
      await transaction.#locked((own, catalog) => transaction.#giveUp(own, catalog)).catch(() => undefined);
      writes[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * What was done stays: durable first, then one write of the catalog.
   *
   * @returns the paths that it wrote, as raw names
   */
  async commit(changes: readonly PackageChange[]): Promise<ReadonlySet<string>> {
    const { paths } = this.#context;
    const found = await settledEngineState(paths, this.#container);
    if (found.state === 'mounted') await controlRequest(paths.controlSocket(this.#container), ['sync'], { timeoutMs: 120_000 });
    // Package managers were told not to wait for each file.
    using writes = this.#writes;
    await writes.sync();
    const written = changedPaths(await fingerprints(this.#context, `${this.#container}@${transactionSnapshot(this.id)}`), await fingerprints(this.#context, this.#container));
    await this.#end((catalog) => {
      catalog.setTransaction(this.id, { state: 'done', changes: JSON.stringify(changes), paths: JSON.stringify(written), ended: new Date().toISOString() });
    });
    // It is done: what is left to do is housekeeping, and the next transaction does it too.
    await this.#locked((context, catalog) => removeOld(context, catalog, this.#container)).catch(() => undefined);
    return new Set(written.map(([path]) => path));
  }

  /** Undoes it. Nobody may use the root of a stopped container any more. */
  async rollBack(): Promise<void> {
    this.#writes[Symbol.dispose]();
    await this.#locked(async (context, catalog) => {
      const transaction = catalog.transactions(this.#container).find(({ id }) => id === this.id);
      if (transaction !== undefined) await undoTransaction(context, catalog, transaction);
      await this.#giveUp(context, catalog);
    });
  }

  /** The container is as before. */
  async #giveUp(context: ServiceContext, catalog: Catalog): Promise<void> {
    catalog.setTransaction(this.id, { state: 'undone', ended: new Date().toISOString() });
    await removeUndoneSnapshot(context, catalog, this.#container, this.id);
    catalog.endJournal(this.#journal);
  }

  async #end(change: (catalog: Catalog) => void): Promise<void> {
    using opened = await openForWriting({ paths: this.#context.paths });
    const { catalog } = opened;
    catalog.transaction(() => {
      change(catalog);
      catalog.endJournal(this.#journal);
    });
  }

  /** With the container's lock, and without the signal: an interrupt must not leave half of it. */
  async #locked(work: (context: ServiceContext, catalog: Catalog) => Promise<void>): Promise<void> {
    const patient: ServiceContext = { paths: this.#context.paths, waitMs: PATIENCE_MS };
    using opened = await openForWriting(patient);
    using locks = new HeldLocks();
    locks.hold(await lockSubject(patient, opened.catalog, 'container', this.#container));
    await work(patient, opened.catalog);
  }
}
