import { accessSync, closeSync, constants, copyFileSync, existsSync, openSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { makeTemporaryFolder } from '../store/temporary-folder.js';
import { CATALOG_VERSION, checkCatalogVersion, migrate } from './migrations.js';
import { badCatalog, catalogError } from './sqlite-error.js';

const BUSY_TIMEOUT_MS = 10_000;

/** `write` changes the catalog; `read` must also work on a store that is mounted read-only, and on none at all. */
export type CatalogMode = 'read' | 'write';

/** Whether the store holds templates or containers, which a missing or empty catalog would not list. */
function holdsAnything(paths: StorePaths): boolean {
  return [paths.templates, paths.privateAreas].some((folder) => {
    try {
      return readdirSync(folder).some((name) => !name.startsWith('.'));
    } catch {
      return false;
    }
  });
}

/**
 * A catalog that cannot be opened where it is: WAL needs a `-shm` file beside it, which a read-only file system does
 * not take. A private copy of catalog and WAL has everything that was committed.
 */
function openCopy(path: string): Database.Database {
  const folder = makeTemporaryFolder('catalog');
  try {
    const copy = join(folder, 'catalog.sqlite');
    copyFileSync(path, copy);
    if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
    const database = new Database(copy);
    // Once it has been read the files stay open and need no names.
    database.pragma('user_version');
    return database;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns undefined where its `-shm` file cannot be made: on a disk without room, or one that has just become read-only */
function openInPlace(path: string): Database.Database | undefined {
  const database = new Database(path, { fileMustExist: true });
  try {
    database.pragma('user_version');
    return database;
  } catch (error) {
    database.close();
    const code = errnoOf(error) ?? '';
    if (/^SQLITE_(?:CANTOPEN|FULL|READONLY|IOERR_SHM)/.test(code)) return undefined;
    throw error;
  }
}

function emptyCatalog(path: string): Database.Database {
  const database = new Database(':memory:');
  migrate(database, path);
  return database;
}

function canWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function sizeOf(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw new TemplatefsError('IO_ERROR', `cannot look at the catalog ${path}: ${errnoOf(error) ?? 'unknown error'}`, {
      hint: 'run as root, or name another store with --store DIR',
      cause: error,
    });
  }
}

function prepare(database: Database.Database): Database.Database {
  database.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
  database.pragma('foreign_keys = ON');
  return database;
}

/**
 * A database without a version is ours only while it is empty and so is the store: a killed first command leaves such a one.
 * Tables in it are somebody else's.
 */
function refuseForeign(database: Database.Database, paths: StorePaths): void {
  if (Number(database.pragma('user_version', { simple: true })) !== 0) return;
  const { tables } = database.prepare<[], { tables: number }>('SELECT count(*) AS tables FROM sqlite_master').get() ?? { tables: 0 };
  if (tables > 0) throw badCatalog(paths.catalog, 'is a database of something else');
  if (holdsAnything(paths)) throw badCatalog(paths.catalog, 'is empty, but the store is not');
}

function openReading(paths: StorePaths, size: number | undefined): Database.Database {
  const path = paths.catalog;
  if (size === undefined) return emptyCatalog(path);
  const writable = canWrite(path) && canWrite(join(path, '..'));
  const database = prepare((writable ? openInPlace(path) : undefined) ?? openCopy(path));
  refuseForeign(database, paths);
  const version = Number(database.pragma('user_version', { simple: true }));
  checkCatalogVersion(version, path);
  // Reading a catalog of an older program: where it cannot be changed, the copy is.
  if (version < CATALOG_VERSION) migrate(database, path);
  return database;
}

function openWriting(paths: StorePaths): Database.Database {
  const path = paths.catalog;
  // Before SQLite makes it, so that only root can read it; the WAL gets the same mode. Never when it is there: closing any descriptor of a file drops
  // all fcntl locks that this process has on it, and with them those of its other connections.
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
  const database = prepare(new Database(path));
  refuseForeign(database, paths);
  const version = Number(database.pragma('user_version', { simple: true }));
  checkCatalogVersion(version, path);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  migrate(database, path);
  return database;
}

/**
 * Opens the catalog of a store. Mode `write` makes and migrates it as needed; the store's folder must exist. Mode
 * `read` gives an empty catalog where there is no store yet.
 *
 * @throws BAD_CATALOG, STORE_NOT_WRITABLE, BUSY, NO_SPACE, IO_ERROR
 */
export function openDatabase(paths: StorePaths, mode: CatalogMode): Database.Database {
  const path = paths.catalog;
  try {
    const size = sizeOf(path);
    if ((size === undefined || size === 0) && holdsAnything(paths)) {
      throw badCatalog(path, size === undefined ? 'is missing, but the store is not empty' : 'is empty, but the store is not');
    }
    if (mode === 'write' && size !== undefined && !canWrite(path)) {
      throw new TemplatefsError('STORE_NOT_WRITABLE', `cannot write the catalog ${path}`, {
        hint: 'run as root on a store that is mounted read-write, or name another with --store DIR',
      });
    }
    return mode === 'write' ? openWriting(paths) : openReading(paths, size === 0 ? undefined : size);
  } catch (error) {
    throw mode === 'write' ? storeWriteError(catalogError(error, path), path) : readError(catalogError(error, path), path);
  }
}

function readError(error: unknown, path: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof TemplatefsError || errno === undefined || errno.startsWith('SQLITE')) return error;
  return new TemplatefsError('IO_ERROR', `cannot read the catalog ${path}: ${errno}`, {
    hint: 'run as root, or name another store with --store DIR',
    cause: error,
  });
}
