import type Database from 'better-sqlite3';
import { TemplatefsError } from '../core/errors.js';

/**
 * One step a version; `user_version` counts the steps that a catalog has seen. A step that was released is never
 * changed, only followed by another. docs/formats/catalog.md describes the result.
 */
export const MIGRATIONS: readonly string[] = [
  // 1: what the program cannot do without
  `
  CREATE TABLE templates (
    name        TEXT PRIMARY KEY,
    version     INTEGER NOT NULL CHECK (version >= 1),
    tree        TEXT NOT NULL CHECK (length(tree) = 64),
    files       INTEGER NOT NULL CHECK (files >= 0),
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    created     TEXT NOT NULL,
    source      TEXT NOT NULL,
    definition  TEXT CHECK (definition IS NULL OR json_valid(definition))
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE containers (
    name        TEXT PRIMARY KEY,
    template    TEXT NOT NULL REFERENCES templates (name) ON UPDATE RESTRICT ON DELETE RESTRICT,
    tree        TEXT NOT NULL CHECK (length(tree) = 64),
    created     TEXT NOT NULL,
    mountpoint  TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX containers_by_template ON containers (template);

  CREATE TABLE journal (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    operation   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    pid_start   TEXT NOT NULL,
    boot        TEXT NOT NULL,
    started     TEXT NOT NULL
  ) STRICT;
  `,
  // 2: sums over the object store are kept until the store changes, so that statistics cost no walk over it
  `
  CREATE TABLE counters (
    name        TEXT PRIMARY KEY,
    value       INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  // 3: what the installer has done, so that it can be undone
  `
  CREATE TABLE transactions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    container   TEXT NOT NULL REFERENCES containers (name) ON DELETE CASCADE,
    operation   TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'undone')),
    request     TEXT NOT NULL CHECK (json_valid(request)),
    changes     TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(changes)),
    paths       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(paths)),
    started     TEXT NOT NULL,
    ended       TEXT
  ) STRICT;
  CREATE INDEX transactions_by_container ON transactions (container);
  `,
  // 4: what sharing saved at times: the trend of `stats`
  `
  CREATE TABLE samples (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    taken       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    containers  INTEGER NOT NULL,
    logical     INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    objects     INTEGER NOT NULL,
    private     INTEGER NOT NULL,
    linked      INTEGER NOT NULL,
    resident    INTEGER,
    unshared    INTEGER
  ) STRICT;
  `,
];

/** The version that this program writes. */
export const CATALOG_VERSION = MIGRATIONS.length;

/** @throws BAD_CATALOG when a newer program wrote the catalog */
export function checkCatalogVersion(version: number, path: string): void {
  if (version > CATALOG_VERSION) {
    throw new TemplatefsError(
      'BAD_CATALOG',
      `the catalog ${path} has version ${version}; this templatefs knows versions up to ${CATALOG_VERSION}`,
      { hint: 'use the newer templatefs that wrote it' },
    );
  }
}

function versionOf(database: Database.Database): number {
  return Number(database.pragma('user_version', { simple: true }));
}

/**
 * Brings a catalog to {@link CATALOG_VERSION}: all missing steps in one transaction, so a cut leaves the old version.
 * Several processes may call this at once; the first does the work.
 *
 * @returns the version found @throws BAD_CATALOG for a newer catalog
 */
export function migrate(database: Database.Database, path: string): number {
  const found = versionOf(database);
  checkCatalogVersion(found, path);
  if (found === CATALOG_VERSION) return found;
  database
    .transaction(() => {
      // Read again: another process may have migrated while this one waited for the lock.
      for (let version = versionOf(database); version < CATALOG_VERSION; version++) {
        database.exec(MIGRATIONS[version] ?? '');
        database.pragma(`user_version = ${version + 1}`);
      }
    })
    .immediate();
  return found;
}
