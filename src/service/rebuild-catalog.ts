import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { HeldLocks } from '../catalog/lock.js';
import { rebuildCatalog as rebuild, type RebuildResult } from '../catalog/rebuild.js';
import { namesIn } from '../store/folder-names.js';
import { makeFolder } from '../store/write-file-durably.js';
import { engineState } from '../engine/engine-state.js';
import { TreeReader } from '../store/tree-reader.js';
import { lock, requireRoot, type ServiceContext } from './context.js';
import { defaultRootPath } from './default-root.js';
import { removeFolder, removeIfEmpty } from './journal.js';

/**
 * Makes a new catalog from the files of the store: for one that is broken or lost. The old one is kept under another
 * name.
 *
 * @throws BUSY while another command has the catalog open, STORE_NOT_WRITABLE, NO_SPACE
 */
export async function rebuildCatalog(context: ServiceContext): Promise<RebuildResult> {
  requireRoot('change a store');
  const { paths } = context;
  for (const folder of [paths.templates, paths.privateAreas]) makeFolder(folder);
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'catalog', what: 'the catalog', mode: 'exclusive' }));
  // The journal that knew of these goes with the old catalog.
  for (const name of readdirSync(paths.privateAreas)) {
    if (/^\.(?:new|trash)-\d+-/.test(name)) await removeFolder(join(paths.privateAreas, name));
  }
  for (const container of namesIn(paths.allSnapshots)) {
    const folder = paths.snapshots(container);
    for (const name of namesIn(folder)) if (/^\.(?:new|trash)-\d+$/.test(name)) await removeFolder(join(folder, name));
    removeIfEmpty(folder);
  }
  const mountpoints = new Map<string, string>();
  for (const name of readdirSync(paths.privateAreas)) {
    const found = name.startsWith('.') ? undefined : await engineState(paths, name);
    if (found?.state === 'mounted' && found.engine.mountpoint !== defaultRootPath(paths, name)) mountpoints.set(name, found.engine.mountpoint);
  }
  return rebuild({
    paths,
    mountpointOf: (container) => mountpoints.get(container) ?? null,
    treeSummary: (digest) => {
      const reader = TreeReader.open(paths.tree(digest));
      reader.close();
      return { files: reader.header.regularCount, bytes: Number(reader.header.contentBytes) };
    },
  });
}
