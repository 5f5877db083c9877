import { existsSync, realpathSync, rmdirSync } from 'node:fs';
import type { StorePaths } from '../core/store-paths.js';

/** The default mount point with the symlinks of the store's own path resolved, as the mount table will name it. */
export function defaultRootPath(paths: StorePaths, name: string): string {
  const root = paths.root(name);
  return existsSync(root) ? realpathSync(root) : root;
}

/** The default mount point is made by `mount`, so it goes with it; a folder of the user's stays. */
export function removeDefaultRoot(paths: StorePaths, name: string): void {
  try {
    rmdirSync(paths.root(name));
  } catch {
    // Not there, or not empty: nobody is in its way.
  }
}
