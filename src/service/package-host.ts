import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { processStart } from '../catalog/process-identity.js';
import { storeWriteError } from '../core/errors.js';
import { PackageCache } from '../packages/package-cache.js';
import type { PackageHost } from '../packages/package-manager.js';
import { namesIn } from '../store/folder-names.js';
import { makeFolder } from '../store/write-file-durably.js';
import type { ServiceContext } from './context.js';

/** A driver's side of the host, and what it leaves behind. */
export interface OpenedPackageHost {
  readonly host: PackageHost;
  /** Removes the work folders. */
  readonly close: () => Promise<void>;
}

const NAME = /^([0-9]+)-([0-9]+)-[0-9a-f]+$/;

/** What killed commands left. */
async function removeStaleFolders(parent: string): Promise<void> {
  for (const name of namesIn(parent)) {
    const match = NAME.exec(name);
    if (match?.[1] !== undefined && processStart(Number(match[1])) === match[2]) continue;
    await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** @param quiet leaves progress to the caller, who shows several containers at once */
export function openPackageHost(context: ServiceContext, quiet = false): OpenedPackageHost {
  const { paths, signal } = context;
  const parent = join(paths.cache, 'work');
  const folders: string[] = [];
  const makeWorkFolder = async (): Promise<string> => {
    try {
      makeFolder(parent);
      if (folders.length === 0) await removeStaleFolders(parent);
      const folder = join(parent, `${process.pid}-${processStart(process.pid) ?? '0'}-${randomBytes(6).toString('hex')}`);
      await mkdir(folder, { mode: 0o755 });
      folders.push(folder);
      return folder;
    } catch (error) {
      throw storeWriteError(error, parent);
    }
  };
  return {
    host: {
      cache: new PackageCache(paths),
      makeWorkFolder,
      ...(signal !== undefined && { signal }),
      ...(context.onProgress !== undefined && !quiet && { onProgress: context.onProgress }),
      ...(context.onNotice !== undefined && { onNotice: context.onNotice }),
      ...(context.onLog !== undefined && { onLog: context.onLog }),
    },
    close: async () => {
      // What cannot be removed now goes with the next command.
      for (const folder of folders) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    },
  };
}
