import { statSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeFolder } from '../store/write-file-durably.js';
import { runEngine } from './run-engine.js';

/** BTRFS_SUPER_MAGIC */
const BTRFS_MAGIC = 0x9123683e;
/** The inode number of the top folder of each subvolume. */
const SUBVOLUME_INODE = 256;

/**
 * Makes the folder of a private area. On btrfs it is a subvolume, whose quota the host can enforce: docs/quotas.md.
 *
 * @throws STORE_NOT_WRITABLE, NO_SPACE, FAILED
 */
export async function makeAreaFolder(path: string): Promise<void> {
  if (statfsSync(dirname(path)).type === BTRFS_MAGIC) await runEngine({ verb: 'area', arguments: ['make', path] });
  else makeFolder(path);
}

/** Whether a folder is a subvolume of btrfs. */
export function isSubvolume(path: string): boolean {
  return statSync(path).ino === SUBVOLUME_INODE && statfsSync(path).type === BTRFS_MAGIC;
}

/** Removes a subvolume with everything in it. @throws FAILED */
export async function removeSubvolume(path: string): Promise<void> {
  await runEngine({ verb: 'area', arguments: ['remove', path] });
}
