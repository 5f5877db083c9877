import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../core/errors.js';

/**
 * Makes a folder and those above it. Node's own recursive mkdir says ENOENT on a read-only or failing file system, where this
 * says EROFS or EIO.
 */
export function makeFolders(folder: string, mode = 0o777): void {
  if (makeOne(folder, mode)) return;
  makeFolders(dirname(folder), mode);
  if (!makeOne(folder, mode)) throw new Error(`cannot make ${folder}: what it lies in went away`);
}

/** Returns false when the folder above is missing. */
function makeOne(folder: string, mode: number): boolean {
  try {
    mkdirSync(folder, { mode });
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') return true;
    if (errno === 'ENOENT' && dirname(folder) !== folder) return false;
    throw error;
  }
}
