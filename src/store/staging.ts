import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { processStart } from '../catalog/process-identity.js';
import { storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { namesIn } from './folder-names.js';
import { makeFolders } from './make-folders.js';
import { STAGING_PARTS } from './worker-messages.js';

const NAME = /^(?:objects|tree|sums)-([0-9]+)-([0-9]+)-[0-9a-f]+$/;

/** A name in staging that nobody else has, and that tells which process it belongs to. */
export function stagingPath(paths: StorePaths, what: 'objects' | 'tree' | 'sums'): string {
  const start = processStart(process.pid) ?? '0';
  return join(paths.staging, `${what}-${process.pid}-${start}-${randomBytes(6).toString('hex')}`);
}

/** Makes a folder of one's own below staging, and removes what killed commands left there. @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR */
export async function createStagingFolder(paths: StorePaths): Promise<string> {
  const folder = stagingPath(paths, 'objects');
  try {
    ensureStaging(paths);
    await removeStaleStaging(paths);
    await mkdir(folder, { mode: 0o700 });
    for (let part = 0; part < STAGING_PARTS; part += 1) await mkdir(join(folder, String(part)));
  } catch (error) {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    throw storeWriteError(error, folder);
  }
  return folder;
}

/** As `createStagingFolder` for callers that only need the folder staging itself. */
export function ensureStaging(paths: StorePaths): void {
  makeFolders(paths.staging);
}

/**
 * Removes what processes that are gone (killed, or lost with the power) left in staging. What a live process works
 * on stays. Returns the names that were removed.
 */
export async function removeStaleStaging(paths: StorePaths): Promise<string[]> {
  const removed: string[] = [];
  for (const path of staleStaging(paths)) {
    await rm(path, { recursive: true, force: true });
    removed.push(basename(path));
  }
  return removed;
}

/** What processes that are gone left in staging. */
export function staleStaging(paths: StorePaths): string[] {
  return namesIn(paths.staging)
    .filter((name) => {
      const match = NAME.exec(name);
      return match?.[1] !== undefined && processStart(Number(match[1])) !== match[2];
    })
    .map((name) => join(paths.staging, name));
}
