import { closeSync, existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readContainerFile } from '../catalog/container-file.js';
import { readLinkCache } from '../dedup/link-cache.js';
import { residentBytes } from '../engine/resident-bytes.js';
import { openPrivateFile } from '../engine/open-private-file.js';
import { DatabaseUnreadable } from '../packages/database/package-database.js';
import { formatObjectId, objectPath } from '../store/object-id.js';
import { printableName } from '../store/raw-names.js';
import { packageDatabaseOf, PackageOwners, rawPath } from './area-packages.js';
import { AreaView } from './area-view.js';
import { openForReading, type ServiceContext } from './context.js';
import { noSuchPath } from './disk-usage.js';
import { findContainer } from './find-record.js';
import { ReferencesOfStore, type ObjectReferences } from './object-references.js';
import { PrivateView, typeName, type ChangeKind } from './private-view.js';
import { isFile, modeOf, sizeOf, type RootEntry } from './root-view.js';
import { containerSharedPaths } from './shared-paths.js';
import { allocatedBytes } from './stored-bytes.js';

/** Where what a path shows comes from. */
export type ContentSource =
  /** The container's tree, as it is. */
  | 'template'
  /** The metadata are the container's, the content is an object. */
  | 'link'
  /** Some of its blocks are the container's, the rest an object's. */
  | 'partial'
  /** All is the container's own. */
  | 'private';

export interface ExplainedPath {
  readonly container: string;
  /** Behind the symlinks that lead there. */
  readonly path: string;
  readonly type: string;
  readonly source: ContentSource;
  readonly sizeBytes: number;
  /** On the disk: of the object and of the private entry. */
  readonly allocatedBytes: number;
  readonly template: { readonly name: string; readonly tree: string };
  /** What the container did to it; null: nothing. */
  readonly change: ChangeKind | null;
  /** A sentence: why it is not, or not wholly, shared. null when it is. */
  readonly why: string | null;
  /** The package that it belongs to by the container's own database. */
  readonly package: { readonly name: string; readonly version: string } | null;
  readonly object: { readonly id: string; readonly file: string; readonly allocatedBytes: number } | null;
  /** Who needs the object; null without one. */
  readonly sharedWith: ObjectReferences | null;
  readonly pageCache: {
    /** Of the object, or of the private file. */
    readonly residentBytes: number;
    /** Whether all roots use the same pages of it; null for what is no regular file. */
    readonly shared: boolean;
  } | null;
}

const CHANGES: Readonly<Record<ChangeKind, string>> = {
  added: 'the container made it; its template has nothing there',
  changed: 'the container has written other content than its template has',
  metadata: 'only its owner, mode, times or xattrs are the container’s own',
  renamed: 'the container has moved it here',
  deleted: 'the container has removed it',
};

function sourceOf(entry: RootEntry): ContentSource {
  if (entry.record === undefined) return 'template';
  if (entry.record.kind === 'link' || entry.record.kind === 'partial') return entry.record.kind;
  return 'private';
}

/** What `link` has said when it left the file alone. */
function skippedBecause(context: ServiceContext, container: string, entry: RootEntry): string | undefined {
  return readLinkCache(context.paths.linkCache(container), container)?.skipped.find(({ path }) => path === entry.path)?.reason;
}

function isBelow(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => folder === '/' || path === folder || path.startsWith(`${folder}/`));
}

/** The file on the host whose pages a private file has. */
function hostFile(context: ServiceContext, container: string, entry: RootEntry): string | undefined {
  const fd = entry.record === undefined ? undefined : openPrivateFile(context.paths, container, entry.record.path);
  if (fd === undefined) return undefined;
  closeSync(fd);
  return join(context.paths.privateArea(container), 'root', Buffer.from(entry.path, 'latin1').toString('utf8'));
}

/**
 * Says where what a path shows comes from, who else has it, and why it is private where it is. Mounts nothing.
 *
 * @throws CONTAINER_NOT_FOUND, FAILED for a path that is not there, BAD_TREE, INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function explainPath(context: ServiceContext, container: string, path: string): Promise<ExplainedPath> {
  const record = (() => {
    using opened = openForReading(context);
    return findContainer(opened.catalog, container);
  })();
  using view = await AreaView.open(context, record);
  const entry = view.resolve(rawPath(path));
  if (entry === undefined) throw noSuchPath(container, path);
  const object = isFile(entry) ? view.objectOf(entry) : undefined;
  const id = object === undefined ? undefined : formatObjectId(object);
  const references = id === undefined ? undefined : (await ReferencesOfStore.open(context)).of(id);
  const change = new PrivateView(view.root.tree, view.records).changes().find((one) => one.path === printableName(entry.path));
  const source = sourceOf(entry);
  const file = object === undefined ? undefined : objectPath(context.paths, object);
  const own = entry.record?.allocatedBytes ?? 0;
  const objectBytes = file === undefined ? 0 : allocatedBytes(file);
  const settings = readContainerFile(context.paths.containerFile(container));
  const sharedPaths = settings === undefined ? [] : containerSharedPaths(context.paths, settings).paths;
  const isShared = (source === 'template' || (source === 'link' && entry.record?.links === 1)) && isBelow(entry.path, sharedPaths);
  return {
    container,
    path: printableName(entry.path),
    type: typeName(modeOf(entry)),
    source,
    sizeBytes: sizeOf(entry),
    allocatedBytes: own + objectBytes,
    template: { name: record.template, tree: record.tree },
    change: change?.change ?? null,
    why: whyPrivate(source, change?.change, skippedBecause(context, container, entry), entry),
    package: packageOf(view, entry),
    object: id === undefined || file === undefined ? null : { id, file, allocatedBytes: objectBytes },
    sharedWith: references ?? null,
    pageCache: await pageCacheOf(context, { entry, file: source === 'private' ? hostFile(context, container, entry) : file, isShared }),
  };
}

function whyPrivate(source: ContentSource, change: ChangeKind | undefined, skipped: string | undefined, entry: RootEntry): string | null {
  if (source === 'template') return null;
  const what = change === undefined ? 'it is in the private area for what lies in it' : CHANGES[change];
  if (source === 'link') return `${what}; its content is shared`;
  if (source === 'partial') return `${what}: the blocks that it wrote are its own, all others are shared`;
  if (!isFile(entry)) return what;
  if (skipped !== undefined) return `${what}; \`templatefs link\` left it alone: ${skipped}`;
  return `${what}; \`templatefs link\` makes it a link if its content is in the store or in another container`;
}

function packageOf(view: AreaView, entry: RootEntry): ExplainedPath['package'] {
  try {
    const database = packageDatabaseOf(view);
    const owner = database === undefined ? undefined : PackageOwners.find(view, database, entry);
    return owner === undefined ? null : { name: owner.name, version: owner.version };
  } catch (error) {
    if (error instanceof DatabaseUnreadable) return null;
    throw error;
  }
}

async function pageCacheOf(context: ServiceContext, { entry, file, isShared }: { entry: RootEntry; file: string | undefined; isShared: boolean }): Promise<ExplainedPath['pageCache']> {
  if (!isFile(entry) || file === undefined || !existsSync(file) || !statSync(file).isFile()) return null;
  const [resident = 0] = await residentBytes([file], context.signal);
  return { residentBytes: resident, shared: isShared };
}
