import type { TransactionRecord } from '../catalog/records.js';
import type { PackageChange } from '../packages/package-manager.js';
import { controlRequest } from '../engine/control-client.js';
import { settledEngineState } from '../engine/engine-state.js';
import { openForWriting, type ServiceContext } from './context.js';

export class PackageTransaction {
  readonly id: number;
  readonly #context: ServiceContext;
  readonly #container: string;
  readonly #journal: number;

  private constructor(context: ServiceContext, container: string, begun: { id: number; journal: number }) {
    this.#context = context;
    this.#container = container;
    this.id = begun.id;
    this.#journal = begun.journal;
  }

  static async begin(context: ServiceContext, options: { container: string; operation: TransactionRecord['operation']; request: unknown }): Promise<PackageTransaction> {
    using opened = await openForWriting(context);
    const begun = opened.catalog.beginTransaction({ container: options.container, operation: options.operation, request: JSON.stringify(options.request) });
    return new PackageTransaction(context, options.container, begun);
  }

  async commit(changes: readonly PackageChange[]): Promise<void> {
    const { paths } = this.#context;
    if ((await settledEngineState(paths, this.#container)).state === 'mounted') await controlRequest(paths.controlSocket(this.#container), ['sync'], { timeoutMs: 120_000 });
    using opened = await openForWriting(this.#context);
    const { catalog } = opened;
    catalog.transaction(() => {
      catalog.setTransaction(this.id, { state: 'done', changes: JSON.stringify(changes), ended: new Date().toISOString() });
      catalog.endJournal(this.#journal);
    });
  }

  async rollBack(): Promise<void> {
    using opened = await openForWriting({ paths: this.#context.paths });
    const { catalog } = opened;
    catalog.transaction(() => {
      catalog.setTransaction(this.id, { state: 'undone', ended: new Date().toISOString() });
      catalog.endJournal(this.#journal);
    });
  }
}
