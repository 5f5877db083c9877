import { lstatSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { enginePath } from '../core/engine-path.js';
import { findEngine } from '../engine/engine-binary.js';
import { requireRoot } from './context.js';

/** `mount -t templatefs` and `mount -t fuse.templatefs`, which is the type that /proc/mounts shows. */
const NAMES = ['mount.templatefs', 'mount.fuse.templatefs'];

export interface HelperLinks {
  /** The links, as they are now; empty when they were removed. */
  readonly links: readonly string[];
  /** What they lead to. */
  readonly engine: string;
}

/** Whether a link of ours, of this installation or of another, is at `path`. @throws FAILED for anything else */
function isOurs(path: string): boolean {
  try {
    if (lstatSync(path).isSymbolicLink() && basename(readlinkSync(path)).startsWith('templatefs-engine')) return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  throw new TemplatefsError('FAILED', `${path} is there, and is not a link to an engine of templatefs`, {
    hint: 'see whose it is (dpkg -S, rpm -qf), and move it away first',
  });
}

/** Turns errors of the folder into ones that say what to do. */
function changing(path: string, change: () => void): void {
  try {
    change();
  } catch (error) {
    const why = errnoOf(error);
    if (why === undefined) throw error;
    throw new TemplatefsError('FAILED', `cannot change ${path}: ${why}`, { hint: 'run as root, and see that the folder is there and can be written', cause: error });
  }
}

/**
 * Makes the links by which mount(8) finds the engine, or removes them. Links of another installation are replaced.
 *
 * @throws FAILED when something else has the name, or the folder cannot be changed; ENGINE_FAILED, ENGINE_MISMATCH
 */
export async function installHelperLinks(folder: string): Promise<HelperLinks> {
  requireRoot('change what mount(8) finds');
  await findEngine();
  const engine = enginePath();
  const links = NAMES.map((name) => join(folder, name));
  for (const link of links) isOurs(link);
  for (const link of links) {
    changing(link, () => {
      rmSync(`${link}.new`, { force: true });
      symlinkSync(engine, `${link}.new`);
      renameSync(`${link}.new`, link);
    });
  }
  return { links, engine };
}

/** @throws FAILED as above */
export function removeHelperLinks(folder: string): HelperLinks {
  requireRoot('change what mount(8) finds');
  for (const link of NAMES.map((name) => join(folder, name))) {
    if (isOurs(link)) changing(link, () => { rmSync(link); });
  }
  return { links: [], engine: enginePath() };
}
