import { rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import { parseParagraph, relationNames, type Paragraph } from './control-paragraphs.js';

/*
 * All packages of one repository, by name. A distribution has some 60,000; an installation concerns some hundred. apt in the container
 * gets only those: what it could reach from the names of the request and of what is installed, over all
 * dependencies, alternatives and providers. What cannot be reached so cannot be part of any solution, so apt finds the same one as
 * with all of them, without reading 50 MB first.
 */

const SCHEMA = `
  CREATE TABLE packages (
    id        INTEGER PRIMARY KEY,
    component TEXT NOT NULL,
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    arch      TEXT NOT NULL,
    filename  TEXT NOT NULL,
    size      INTEGER NOT NULL,
    sha256    TEXT NOT NULL,
    needs     TEXT NOT NULL,
    text      TEXT NOT NULL
  ) STRICT;
  CREATE TABLE provides (virtual TEXT NOT NULL, package INTEGER NOT NULL) STRICT;
`;
const INDEXES = `
  CREATE INDEX packages_by_name ON packages (name);
  CREATE INDEX provides_by_virtual ON provides (virtual);
`;

/** Relations that apt follows when it chooses what to install. */
const FOLLOWED = ['Depends', 'Pre-Depends', 'Recommends'];

/** One package of a repository. */
export interface IndexedPackage {
  readonly id: number;
  readonly component: string;
  readonly name: string;
  readonly version: string;
  readonly arch: string;
  /** Below the repository's URL. */
  readonly filename: string;
  readonly size: number;
  readonly sha256: string;
  /** Names that it needs, separated by spaces. */
  readonly needs: string;
  /** Its paragraph, as it was signed. */
  readonly text: string;
}

function neededNames(fields: Paragraph): string[] {
  return [...new Set(FOLLOWED.flatMap((field) => relationNames(fields.get(field) ?? '')))];
}

function isPlainPath(path: string): boolean {
  return path !== '' && !path.startsWith('/') && !path.split('/').includes('..') && !/[\s\\]/.test(path);
}

/** Writes the index of a repository to `file`, paragraph by paragraph as `Packages` files have them. */
export class PackageIndexWriter {
  readonly #database: Database.Database;
  readonly #insert: Database.Statement;
  readonly #provide: Database.Statement;
  #rest = '';

  constructor(file: string) {
    rmSync(file, { force: true });
    this.#database = new Database(file);
    this.#database.pragma('journal_mode = MEMORY');
    this.#database.pragma('synchronous = OFF');
    this.#database.exec(SCHEMA);
    this.#insert = this.#database.prepare('INSERT INTO packages (component, name, version, arch, filename, size, sha256, needs, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#provide = this.#database.prepare('INSERT INTO provides (virtual, package) VALUES (?, ?)');
    this.#database.exec('BEGIN');
  }

  /** Takes the next piece of a component's Packages file. */
  add(component: string, piece: string): void {
    const text = this.#rest + piece;
    let from = 0;
    for (let end = text.indexOf('\n\n', from); end >= 0; end = text.indexOf('\n\n', from)) {
      this.#paragraph(component, text.slice(from, end));
      from = end + 2;
    }
    this.#rest = text.slice(from);
  }

  /** Ends a component. */
  endComponent(component: string): void {
    if (this.#rest.trim() !== '') this.#paragraph(component, this.#rest);
    this.#rest = '';
  }

  finish(): void {
    this.#database.exec('COMMIT');
    this.#database.exec(INDEXES);
    this.#database.close();
  }

  abandon(): void {
    this.#database.close();
  }

  #paragraph(component: string, text: string): void {
    const fields = parseParagraph(text);
    const [name, version, arch, filename, size, sha256] = ['Package', 'Version', 'Architecture', 'Filename', 'Size', 'SHA256'].map((field) => fields.get(field));
    if (name === undefined || version === undefined || arch === undefined || filename === undefined || size === undefined || sha256 === undefined) return;
    // Without a good hash, size and place a package cannot be had.
    if (!/^[0-9a-f]{64}$/.test(sha256) || !/^\d{1,15}$/.test(size) || !isPlainPath(filename.replace(/^\.\//, ''))) return;
    const { lastInsertRowid } = this.#insert.run(component, name, version, arch, filename, Number(size), sha256, neededNames(fields).join(' '), text.trim());
    for (const virtual of relationNames(fields.get('Provides') ?? '')) this.#provide.run(virtual, lastInsertRowid);
  }
}

/** Reads the index of a repository. */
export class PackageIndex implements Disposable {
  readonly #database: Database.Database;
  readonly #byName: Database.Statement<[string], IndexedPackage>;
  readonly #byVirtual: Database.Statement<[string], IndexedPackage>;

  constructor(file: string) {
    this.#database = new Database(file, { readonly: true, fileMustExist: true });
    this.#byName = this.#database.prepare('SELECT * FROM packages WHERE name = ?');
    this.#byVirtual = this.#database.prepare('SELECT packages.* FROM provides JOIN packages ON packages.id = provides.package WHERE virtual = ?');
  }

  /** Packages of this name, and those that provide it. */
  candidates(name: string): IndexedPackage[] {
    return [...this.#byName.all(name), ...this.#byVirtual.all(name)];
  }

  named(name: string): IndexedPackage[] {
    return this.#byName.all(name);
  }

  /** Names of packages that have a task: apt's `TASK^`. */
  ofTask(task: string): string[] {
    const rows = this.#database.prepare<[string], IndexedPackage>("SELECT * FROM packages WHERE text LIKE '%' || char(10) || 'Task: %' || ? || '%'").all(task);
    return rows.filter(({ text }) => (parseParagraph(text).get('Task') ?? '').split(/[,\s]+/).includes(task)).map(({ name }) => name);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/** All packages that can be reached from `names` in any of the indexes, for each index its own. */
export function reachable(indexes: readonly PackageIndex[], names: Iterable<string>): IndexedPackage[][] {
  const found = indexes.map(() => new Map<number, IndexedPackage>());
  const seen = new Set<string>(names);
  const queue = [...seen];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    for (const [at, index] of indexes.entries()) {
      for (const candidate of index.candidates(name)) {
        const there = found[at];
        if (there === undefined || there.has(candidate.id)) continue;
        there.set(candidate.id, candidate);
        for (const next of [candidate.name, ...candidate.needs.split(' ')]) {
          if (next === '' || seen.has(next)) continue;
          seen.add(next);
          queue.push(next);
        }
      }
    }
  }
  return found.map((packages) => [...packages.values()].sort((a, b) => a.id - b.id));
}
