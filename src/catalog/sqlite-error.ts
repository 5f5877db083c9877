import { TemplatefsError, errnoOf } from '../core/errors.js';

const REBUILD_HINT =
  'run `templatefs catalog rebuild`: it keeps the broken file under another name and makes a new catalog from the templates and containers of the store';

/** The error for a catalog that is broken; `why` ends the sentence. */
export function badCatalog(path: string, why: string, cause?: unknown): TemplatefsError {
  return new TemplatefsError('BAD_CATALOG', `the catalog ${path} ${why}`, { hint: REBUILD_HINT, cause });
}

/**
 * Turns an error of SQLite into one that says what to do. Anything that is not SQLite's is returned as it is.
 * Extended codes (`SQLITE_CORRUPT_INDEX`, `SQLITE_IOERR_WRITE`) count as their first two words.
 */
export function catalogError(error: unknown, path: string): unknown {
  const code = errnoOf(error)?.match(/^SQLITE_[A-Z]+/)?.[0];
  if (code === undefined || error instanceof TemplatefsError) return error;
  const reason = error instanceof Error ? error.message : '';
  switch (code) {
    case 'SQLITE_NOTADB':
      return badCatalog(path, 'is not a database', error);
    case 'SQLITE_CORRUPT':
      return badCatalog(path, `is corrupt (${reason})`, error);
    case 'SQLITE_ERROR':
      // A table or column is missing: the schema is not the one that the version promises.
      return badCatalog(path, `does not have the tables that its version says (${reason})`, error);
    case 'SQLITE_FULL':
      return new TemplatefsError('NO_SPACE', `no space left while writing the catalog ${path}`, {
        hint: 'free some space on the file system of the store (df -h, df -i), then run the command again',
        cause: error,
      });
    case 'SQLITE_READONLY':
    case 'SQLITE_CANTOPEN':
    case 'SQLITE_PERM':
      return new TemplatefsError('STORE_NOT_WRITABLE', `cannot write the catalog ${path}: ${reason}`, {
        hint: 'run as root on a store that is mounted read-write, or name another with --store DIR',
        cause: error,
      });
    case 'SQLITE_BUSY':
    case 'SQLITE_LOCKED':
      return new TemplatefsError('BUSY', `the catalog ${path} stayed locked by another command`, {
        hint: 'run the command again when the other has ended',
        cause: error,
      });
    case 'SQLITE_IOERR':
      return new TemplatefsError('IO_ERROR', `I/O error in the catalog ${path}: ${reason}`, {
        hint: 'look at dmesg: the disk below the store reports errors',
        cause: error,
      });
    default:
      return error;
  }
}
