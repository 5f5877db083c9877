import { statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';

/** A file system with less than this, or without inodes, is full as far as a database goes. */
const FULL_BELOW_BYTES = 256 * 1024;

/** Whether there is no room beside a file: SQLite calls that an I/O error, or a file that cannot be opened, when it concerns its helper files. */
export function isFull(path: string): boolean {
  try {
    const { bavail, bsize, files, ffree } = statfsSync(dirname(path));
    // btrfs has no number of inodes: it says 0 of 0.
    return bavail * bsize < FULL_BELOW_BYTES || (files > 0 && ffree === 0);
  } catch {
    return false;
  }
}

function noSpace(path: string, cause: unknown): TemplatefsError {
  return new TemplatefsError('NO_SPACE', `no space left while writing the catalog ${path}`, {
    hint: 'free some space on the file system of the store (df -h, df -i), then run the command again',
    cause,
  });
}

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
      return noSpace(path, error);
    case 'SQLITE_READONLY':
    case 'SQLITE_CANTOPEN':
    case 'SQLITE_PERM':
      if (code === 'SQLITE_CANTOPEN' && isFull(path)) return noSpace(path, error);
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
      if (isFull(path)) return noSpace(path, error);
      return new TemplatefsError('IO_ERROR', `I/O error in the catalog ${path}: ${reason}`, {
        hint: 'look at dmesg: the disk below the store reports errors',
        cause: error,
      });
    default:
      return error;
  }
}
