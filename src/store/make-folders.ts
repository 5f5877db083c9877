import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../core/errors.js';

/**
 * Makes a folder and those above it. Node's own recursive mkdir says ENOENT on a read-only file system, where this
 * says EROFS.
 */
export function makeFolders(folder: string): void {
  if (makeOne(folder)) return;
  makeFolders(dirname(folder));
  if (!makeOne(folder)) throw new Error(`cannot make ${folder}: what it lies in went away`);
}

/** Returns false when the folder above is missing. */
function makeOne(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') return true;
    if (errno === 'ENOENT' && dirname(folder) !== folder) return false;
    throw error;
  }
}
