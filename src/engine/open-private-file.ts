import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import type { StorePaths } from '../core/store-paths.js';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * Opens a file of a private area by the path that a scan gave. The container may rename things meanwhile: no symlink is
 * followed on the way, and nothing waits at a fifo. @returns a descriptor, to be closed; undefined when it is not there
 */
export function openPrivateFile(paths: StorePaths, container: string, path: string): number | undefined {
  const unlinked = /^inode:([0-9a-fA-F]+)$/.exec(path)?.[1];
  const names = unlinked === undefined ? ['root', ...path.split('/').filter((name) => name !== '')] : ['inodes', unlinked];
  const last = names.pop();
  if (last === undefined) return undefined;
  let folder: number | undefined;
  try {
    folder = openSync(join(paths.privateArea(container)), FOLDER);
    for (const name of names) {
      const next: number = openSync(below(folder, name), FOLDER);
      closeSync(folder);
      folder = next;
    }
    return openSync(below(folder, last), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined;
  } finally {
    if (folder !== undefined) closeSync(folder);
  }
}

/** Names are bytes: each character of a scan's path is one. */
function below(folder: number, name: string): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), Buffer.from(name, 'latin1')]);
}
