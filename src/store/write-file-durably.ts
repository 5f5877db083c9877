import { closeSync, fsyncSync, openSync, renameSync, rmSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, storeWriteError } from '../core/errors.js';
import { makeFolders } from './make-folders.js';

/** Makes the names in `folder` durable. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a small file so that after any crash it has the old or the new content: tmp → fsync → rename → fsync folder.
 * The folder must exist. When this returns the new content is durable.
 *
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function writeFileDurably(path: string, content: string, mode = 0o600): void {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    writeContent(temporary, 'w', content, mode);
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw storeWriteError(error, path);
  }
}

/**
 * Writes a small file that is of use only as long as it is there and whole, such as a cache: readers see the old or the new content, but after a
 * power loss it may be anything. The folder must exist.
 *
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function replaceFile(path: string, content: string, mode = 0o600): void {
  const temporary = `${path}.tmp-${process.pid}`;
  try {
    writeFileSync(temporary, content, { mode, flag: 'w' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw storeWriteError(error, path);
  }
}

/**
 * Writes a small file into a folder that nobody sees yet: its content is durable, its name is once the caller syncs the folder.
 *
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function writeNewFile(path: string, content: string, mode = 0o600): void {
  try {
    writeContent(path, 'wx', content, mode);
  } catch (error) {
    throw storeWriteError(error, path);
  }
}

function writeContent(path: string, flags: 'w' | 'wx', content: string, mode: number): void {
  const fd = openSync(path, flags, mode);
  try {
    const bytes = Buffer.from(content, 'utf8');
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Removes a file durably. @returns false if it was not there */
export function removeFileDurably(path: string): boolean {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw storeWriteError(error, path);
  }
  syncFolder(dirname(path));
  return true;
}

/** Makes a folder and its parents; one that exists is left as it is. @throws STORE_NOT_WRITABLE, NO_SPACE */
export function makeFolder(path: string, mode = 0o700): void {
  try {
    makeFolders(path, mode);
  } catch (error) {
    throw storeWriteError(error, path);
  }
}
