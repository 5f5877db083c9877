import { printableName } from '../store/raw-names.js';
import { formatObjectId, objectPath } from '../store/object-id.js';
import { TemplatefsError } from '../core/errors.js';
import { rawPath } from './area-packages.js';
import { AreaView } from './area-view.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { ReferencesOfStore } from './object-references.js';
import { inodeOf, isFile, sizeOf } from './root-view.js';
import { allocatedBytes } from './stored-bytes.js';

/** What a part of a root takes; each inode and each object once. */
export interface DiskUsage {
  readonly container: string;
  readonly path: string;
  readonly files: number;
  readonly entries: number;
  /** Content as the container sees it. */
  readonly apparentBytes: number;
  /** Allocated on the disk for it: objects and private entries. */
  readonly allocatedBytes: number;
  /** Of that what others need, too. */
  readonly sharedBytes: number;
  /** Of that what would go with the container: private entries, and objects that only it needs. */
  readonly exclusiveBytes: number;
  readonly privateBytes: number;
}

/**
 * What a container takes at a path, and below it. @throws CONTAINER_NOT_FOUND, FAILED for a path that is not there, BAD_TREE,
 * INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function diskUsage(context: ServiceContext, container: string, path = '/'): Promise<DiskUsage> {
  const record = (() => {
    using opened = openForReading(context);
    return findContainer(opened.catalog, container);
  })();
  const references = await ReferencesOfStore.open(context);
  using view = await AreaView.open(context, record);
  const top = view.resolve(rawPath(path), path.endsWith('/'));
  if (top === undefined) throw noSuchPath(container, path);
  const inodes = new Set<number>();
  const objects = new Set<string>();
  let [files, entries, apparent, own, shared, exclusive] = [0, 0, 0, 0, 0, 0];
  for (const entry of view.root.walk(top)) {
    if (++entries % 1024 === 0) context.signal?.throwIfAborted();
    // An inode that was never looked up has no number of its own.
    const inode = inodeOf(entry);
    if (inode !== 0 && inodes.has(inode)) continue;
    inodes.add(inode);
    if (entry.record !== undefined) own += entry.record.allocatedBytes;
    if (!isFile(entry)) continue;
    files += 1;
    apparent += sizeOf(entry);
    const object = view.objectOf(entry);
    const id = object === undefined ? undefined : formatObjectId(object);
    if (object === undefined || id === undefined || objects.has(id)) continue;
    objects.add(id);
    const bytes = allocatedBytes(objectPath(context.paths, object));
    if (references.isOnlyOf(container, id)) exclusive += bytes;
    else shared += bytes;
  }
  return {
    container, path: printableName(top.path), files, entries, apparentBytes: apparent, allocatedBytes: own + shared + exclusive,
    sharedBytes: shared, exclusiveBytes: own + exclusive, privateBytes: own,
  };
}

export function noSuchPath(container: string, path: string): TemplatefsError {
  return new TemplatefsError('FAILED', `container ${container} has no ${JSON.stringify(path)}`, { hint: 'name it as the container sees it, from /' });
}
