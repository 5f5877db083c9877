import type Database from 'better-sqlite3';
import type { StorePaths } from '../core/store-paths.js';
import { openDatabase, type CatalogMode } from './open-database.js';
import { ownIdentity } from './process-identity.js';
import type { ContainerRecord, JournalEntry, JournalOperation, SampleRecord, TemplateRecord, TransactionRecord } from './records.js';
import { catalogError } from './sqlite-error.js';

const JOURNAL_COLUMNS = 'id, operation, subject, pid, pid_start AS pidStart, boot, started';

/**
 * The index of one store: templates, containers, and what commands are in the middle of. Every call is one durable
 * transaction (WAL, synchronous FULL) unless it runs inside {@link Catalog.transaction}. Calls are synchronous and may
 * wait some seconds for another process's write.
 *
 * Every method throws BAD_CATALOG, STORE_NOT_WRITABLE, NO_SPACE, BUSY or IO_ERROR when the file cannot be used.
 */
export class Catalog implements Disposable {
  readonly path: string;
  readonly #database: Database.Database;

  constructor(database: Database.Database, path: string) {
    this.#database = database;
    this.path = path;
  }

  static open(paths: StorePaths, mode: CatalogMode): Catalog {
    return new Catalog(openDatabase(paths, mode), paths.catalog);
  }

  close(): void {
    this.#database.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs `work` in one transaction; rolls back when it throws. */
  transaction<Result>(work: () => Result): Result {
    return this.#guard(() => this.#database.transaction(work).immediate());
  }

  templates(): TemplateRecord[] {
    return this.#guard(() =>
      this.#database.prepare<[], TemplateRecord>('SELECT * FROM templates ORDER BY name').all(),
    );
  }

  template(name: string): TemplateRecord | undefined {
    return this.#guard(() =>
      this.#database.prepare<[string], TemplateRecord>('SELECT * FROM templates WHERE name = ?').get(name),
    );
  }

  /** Adds a template, or replaces the one of this name. */
  putTemplate(template: TemplateRecord): void {
    this.#run(
      `INSERT INTO templates (name, version, tree, files, bytes, created, source, definition)
       VALUES (@name, @version, @tree, @files, @bytes, @created, @source, @definition)
       ON CONFLICT (name) DO UPDATE SET version = excluded.version, tree = excluded.tree, files = excluded.files,
         bytes = excluded.bytes, created = excluded.created, source = excluded.source, definition = excluded.definition`,
      { ...template },
    );
  }

  /** @returns false if there was none @throws SqliteError while containers name it (callers check first) */
  removeTemplate(name: string): boolean {
    return this.#run('DELETE FROM templates WHERE name = @name', { name }) > 0;
  }

  containers(): ContainerRecord[] {
    return this.#guard(() =>
      this.#database.prepare<[], ContainerRecord>('SELECT * FROM containers ORDER BY name').all(),
    );
  }

  container(name: string): ContainerRecord | undefined {
    return this.#guard(() =>
      this.#database.prepare<[string], ContainerRecord>('SELECT * FROM containers WHERE name = ?').get(name),
    );
  }

  /** Names of the containers that stand on a template, in order. */
  containersOf(template: string): string[] {
    return this.#guard(() =>
      this.#database
        .prepare<[string], { name: string }>('SELECT name FROM containers WHERE template = ? ORDER BY name')
        .all(template)
        .map(({ name }) => name),
    );
  }

  /** Adds a container, or replaces the record of this name. Its template must be there. */
  putContainer(container: ContainerRecord): void {
    this.#run(
      `INSERT INTO containers (name, template, tree, created, mountpoint)
       VALUES (@name, @template, @tree, @created, @mountpoint)
       ON CONFLICT (name) DO UPDATE SET template = excluded.template, tree = excluded.tree,
         created = excluded.created, mountpoint = excluded.mountpoint`,
      { ...container },
    );
  }

  setMountpoint(name: string, mountpoint: string | null): void {
    this.#run('UPDATE containers SET mountpoint = @mountpoint WHERE name = @name', { name, mountpoint });
  }

  /** @returns false if there was none */
  removeContainer(name: string): boolean {
    return this.#run('DELETE FROM containers WHERE name = @name', { name }) > 0;
  }

  /** Notes durably that this process is in the middle of something. @returns the entry's id, for {@link endJournal} */
  beginJournal(operation: JournalOperation, subject: string, started = new Date().toISOString()): number {
    const { pid, start, boot } = ownIdentity();
    return this.#guard(() =>
      Number(
        this.#database
          .prepare(
            `INSERT INTO journal (operation, subject, pid, pid_start, boot, started)
             VALUES (@operation, @subject, @pid, @start, @boot, @started)`,
          )
          .run({ operation, subject, pid, start, boot, started }).lastInsertRowid,
      ),
    );
  }

  endJournal(id: number): void {
    this.#run('DELETE FROM journal WHERE id = @id', { id });
  }

  /** What commands are, or were, in the middle of, oldest first. */
  journal(): JournalEntry[] {
    return this.#guard(() =>
      this.#database.prepare<[], JournalEntry>(`SELECT ${JOURNAL_COLUMNS} FROM journal ORDER BY id`).all(),
    );
  }

  /** Begins a change of a container's packages, with its journal entry. @param leastId ids below it were used by a catalog that is gone */
  beginTransaction(transaction: Pick<TransactionRecord, 'container' | 'operation' | 'request'>, leastId: number): { id: number; journal: number } {
    return this.transaction(() => {
      const journal = this.beginJournal('change-container', transaction.container);
      const last = this.#database.prepare<[], { id: number | null }>("SELECT max(seq) AS id FROM sqlite_sequence WHERE name = 'transactions'").get()?.id ?? 0;
      const id = Math.max(leastId, last + 1);
      this.#run("INSERT INTO transactions (id, container, operation, state, request, started) VALUES (@id, @container, @operation, 'running', @request, @started)", {
        ...transaction, id, started: new Date().toISOString(),
      });
      return { id, journal };
    });
  }

  setTransaction(id: number, values: Partial<Pick<TransactionRecord, 'state' | 'changes' | 'paths' | 'ended'>>): void {
    for (const [column, value] of Object.entries(values)) this.#run(`UPDATE transactions SET ${column} = @value WHERE id = @id`, { id, value });
  }

  /** Those of a container, the oldest first. */
  transactions(container: string): TransactionRecord[] {
    return this.#guard(() => this.#database.prepare<[string], TransactionRecord>('SELECT * FROM transactions WHERE container = ? ORDER BY id').all(container));
  }

  /** @returns the value of a counter; 0 for one that was never set */
  counter(name: string): number {
    return this.#guard(
      () =>
        this.#database.prepare<[string], { value: number }>('SELECT value FROM counters WHERE name = ?').get(name)
          ?.value ?? 0,
    );
  }

  setCounters(values: Readonly<Record<string, number>>): void {
    this.transaction(() => {
      for (const [name, value] of Object.entries(values)) {
        this.#run(
          'INSERT INTO counters (name, value) VALUES (@name, @value) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
          { name, value },
        );
      }
    });
  }

  /**
   * Adds a sample. Of more than `most` the older half is thinned to every second one: the further back, the wider apart they are,
   * and the first stays.
   */
  addSample(sample: SampleRecord, most: number): void {
    this.transaction(() => {
      this.#run(
        `INSERT INTO samples (taken, reason, containers, logical, stored, objects, private, linked, resident, unshared)
         VALUES (@taken, @reason, @containers, @logical, @stored, @objects, @private, @linked, @resident, @unshared)`,
        { ...sample },
      );
      this.#run(
        `DELETE FROM samples WHERE (SELECT count(*) FROM samples) > @most AND id IN (
           SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS place FROM samples) WHERE place <= @most / 2 AND place % 2 = 0)`,
        { most },
      );
    });
  }

  /** Oldest first. */
  samples(): SampleRecord[] {
    return this.#guard(() =>
      this.#database
        .prepare<[], SampleRecord>('SELECT taken, reason, containers, logical, stored, objects, private, linked, resident, unshared FROM samples ORDER BY id')
        .all(),
    );
  }

  /** SQLite's own full check. @returns what is wrong, one line each; empty for a sound catalog */
  check(): string[] {
    return this.#guard(() => {
      const lines = this.#database.pragma('integrity_check(20)') as { integrity_check: string }[];
      const foreign = this.#database.pragma('foreign_key_check') as { table: string; parent: string }[];
      return [
        ...lines.map((line) => line.integrity_check).filter((line) => line !== 'ok'),
        ...foreign.map(({ table, parent }) => `a row of ${table} names nothing in ${parent}`),
      ];
    });
  }

  #run(sql: string, values: Record<string, unknown>): number {
    return this.#guard(() => this.#database.prepare(sql).run(values).changes);
  }

  #guard<Result>(work: () => Result): Result {
    try {
      return work();
    } catch (error) {
      throw catalogError(error, this.path);
    }
  }
}
