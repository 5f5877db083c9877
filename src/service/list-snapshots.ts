import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readSnapshotFile, type SnapshotFile } from '../catalog/snapshot-file.js';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { namesIn } from '../store/folder-names.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';

/** One snapshot, as `snapshot list` shows it. */
export interface ListedSnapshot extends SnapshotFile {
  /** `CT@ID`: what `clone` and `diff` take. */
  readonly name: string;
}

/** Ids of a container's snapshots; what is half made or half removed does not count. */
export function snapshotIds(paths: StorePaths, container: string): string[] {
  return namesIn(paths.snapshots(container)).filter((id) => !id.startsWith('.')).sort();
}

/** All snapshots of the store, as `CT@ID`. */
export function snapshotsInStore(paths: StorePaths): string[] {
  return namesIn(paths.allSnapshots).sort().flatMap((container) => snapshotIds(paths, container).map((id) => `${container}@${id}`));
}

/** @throws INTEGRITY */
export function readSnapshot(paths: StorePaths, container: string, id: string): SnapshotFile | undefined {
  return readSnapshotFile(join(paths.privateArea(`${container}@${id}`), 'snapshot'));
}

/** @throws SNAPSHOT_NOT_FOUND */
export function findSnapshot(paths: StorePaths, container: string, id: string): void {
  if (snapshotIds(paths, container).includes(id) && existsSync(paths.privateArea(`${container}@${id}`))) return;
  throw new TemplatefsError('SNAPSHOT_NOT_FOUND', `container ${container} has no snapshot ${JSON.stringify(id)}`, {
    hint: `see which there are with \`templatefs snapshot list ${container}\``,
  });
}

/**
 * The snapshots of one container, or of all, oldest first.
 *
 * @throws CONTAINER_NOT_FOUND, INTEGRITY, BAD_CATALOG
 */
export function listSnapshots(context: ServiceContext, container?: string): ListedSnapshot[] {
  const { paths } = context;
  if (container !== undefined) {
    using opened = openForReading(context);
    findContainer(opened.catalog, container);
  }
  const names = container === undefined ? snapshotsInStore(paths) : snapshotIds(paths, container).map((id) => `${container}@${id}`);
  return names
    .flatMap((name) => {
      const [ct = '', id = ''] = name.split('@');
      const file = readSnapshot(paths, ct, id);
      return file === undefined ? [] : [{ name, ...file }];
    })
    .sort((a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : 0));
}
