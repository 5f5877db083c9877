import { existsSync, lstatSync, mkdirSync, writeFileSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { appsOf, withApps } from '../catalog/apps-of-container.js';
import type { Catalog } from '../catalog/catalog.js';
import { formatContainerFile, readContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import type { IdMaps } from '../core/id-map.js';
import { writeFileDurably } from '../store/write-file-durably.js';
import { changedPaths, fingerprints, isFolder, type Fingerprints, type PathChange } from './area-fingerprint.js';
import { cloneLocked } from './clone-container.js';
import type { ServiceContext } from './context.js';
import { packagePrograms } from './package-programs.js';
import { temporaryName, destroyTemporary } from './temporary-container.js';
import { beginUnfinished } from './unfinished-container.js';
import { enterContainer, leaveContainer } from './use-container.js';

/*
 * Puts paths of a mounted container back to what a snapshot has: its private area cannot be exchanged under a live engine, so it is done by
 * ordinary file operations. A temporary clone of the snapshot is mounted and shown to the container's own tar, in the sandbox:
 * whatever links the container makes meanwhile lead nowhere but into itself.
 */

/**
 * What goes, deepest first; a folder in which the container has put something else stays. Then an archive of what comes back. The time of /
 * is told: the lists lie in the root that is copied.
 */
const PUT_BACK = `set -e
before=/run/templatefs
list=$before/.templatefs-paths
xargs -0 -r rm -df -- < $list/remove 2>/dev/null || true
[ -s $list/copy ] || exit 0
tar --directory $before --create --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner --no-recursion --null --files-from $list/copy \\
  | tar --directory / --extract --preserve-permissions --xattrs --xattrs-include='*' --acls --numeric-owner
[ -z "$1" ] || touch -m --date="$1" /
`;

export interface PutBackOptions {
  readonly container: string;
  /** Of the snapshot. */
  readonly id: string;
  /** Where the container is mounted. */
  readonly root: string;
  readonly ids: IdMaps | null;
  /** Only these; undefined: all that differ. */
  readonly paths?: ReadonlySet<string>;
}

/** Covered in the sandbox by private mounts, as they are in most running containers. Nobody installs anything there. */
const COVERED = /^\/(dev|proc|run|tmp)(\/|$)/;

function statusOf(root: string, path: string): Stats | undefined {
  return lstatSync(Buffer.concat([Buffer.from(root), Buffer.from(path, 'latin1')]), { throwIfNoEntry: false });
}

/** As touch(1) reads it. */
function sinceEpoch(nanoseconds: bigint): string {
  const second = 1_000_000_000n;
  const part = ((nanoseconds % second) + second) % second;
  return `@${(nanoseconds - part) / second}.${String(part).padStart(9, '0')}`;
}

/** Paths are in order, so that parents come before children; NUL stands after each. */
function writeList(file: string, paths: readonly string[]): void {
  writeFileSync(file, Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1'));
}

async function putBack(context: ServiceContext, options: PutBackOptions, paths: readonly string[], clone: string): Promise<void> {
  const before = await enterContainer(context, clone);
  try {
    const { mtimeNs } = lstatSync(before.root, { bigint: true });
    const lists = join(before.root, '.templatefs-paths');
    mkdirSync(lists);
    const isThere = (path: string): boolean => statusOf(before.root, path) !== undefined;
    writeList(join(lists, 'remove'), paths.filter((path) => !isThere(path)).reverse());
    writeList(join(lists, 'copy'), paths.filter(isThere).map((path) => `.${path}`));
    const programs = packagePrograms({ name: options.container, root: options.root, ids: options.ids, environment: {} });
    const answer = await programs.run({ script: PUT_BACK, input: before.root, arguments: [paths.includes('/') ? sinceEpoch(mtimeNs) : ''] });
    if (answer.status !== 0) {
      throw new TemplatefsError('FAILED', `${options.container} could not be put back while it is mounted: ${answer.errors.split('\n')[0] ?? ''}`, {
        hint: `stop it and unmount it (templatefs umount ${options.container}); the next command then puts it back`,
      });
    }
  } finally {
    before.use.release();
    await leaveContainer(context, clone);
  }
}

/** Changed paths in order, and folders that are as they were and are to stay so, with their times. */
function withFolders(changes: readonly PathChange[], all: readonly PathChange[], folders: readonly string[]): string[] {
  const changed = new Set(all.map(([path]) => path));
  const unchanged = new Set([...changes.map(([path]) => dirname(path)), ...folders].filter((folder) => !changed.has(folder)));
  return [...unchanged, ...changes.map(([path]) => path)].sort();
}

/**
 * The folders that a container has of its own, and so their times: what was made and removed again in them shows in nothing else. Not for
 * a part of its changes: what something else did in a folder is then not undone.
 */
function foldersToPutBack(now: Fingerprints, paths: ReadonlySet<string> | undefined): string[] {
  return paths === undefined ? [...now].filter(([path, is]) => isFolder(is) && !COVERED.test(path)).map(([path]) => path) : [];
}

/** The caller holds the container's lock. @returns how many paths were put back */
export async function putBackMounted(context: ServiceContext, catalog: Catalog, options: PutBackOptions): Promise<number> {
  const snapshot = `${options.container}@${options.id}`;
  const now = await fingerprints(context, options.container);
  const all = changedPaths(await fingerprints(context, snapshot), now);
  const changes = all.filter(([path]) => !COVERED.test(path) && options.paths?.has(path) !== false);
  if (changes.length > 0) {
    const [clone, created] = [temporaryName(), new Date().toISOString()];
    const journal = beginUnfinished(catalog, clone, created);
    try {
      await cloneLocked(context, catalog, { from: snapshot, name: clone, created });
      await putBack(context, options, withFolders(changes, all, foldersToPutBack(now, options.paths)), clone);
    } finally {
      // Its making may have failed when it had its name already.
      if (catalog.container(clone) !== undefined) await destroyTemporary(context, clone);
      // Else the next command removes what is there.
      if (!existsSync(context.paths.privateArea(clone))) catalog.endJournal(journal);
    }
  }
  const [is, was] = [readContainerFile(context.paths.containerFile(options.container)), readContainerFile(context.paths.containerFile(snapshot))];
  if (is !== undefined && was !== undefined) writeFileDurably(context.paths.containerFile(options.container), formatContainerFile(withApps(is, appsOf(was))));
  return changes.length;
}
