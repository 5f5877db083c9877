import type { ScanRecord } from '../engine/scan.js';
import { isFolder, isRegular } from '../store/inode-types.js';
import type { RawName } from '../store/raw-names.js';
import type { TreeNode, TreeReader } from '../store/tree-reader.js';

/*
 * What a container's root shows, without mounting it: its tree, and over it the records of a scan (docs/formats/private-area.md).
 * Looking one path up costs what lies on its way.
 */

/** One name of the root: an entry of the private area, or one that the tree shows as it is. */
export type RootEntry =
  | { readonly path: RawName; readonly record: ScanRecord; readonly node: undefined }
  | { readonly path: RawName; readonly record: undefined; readonly node: TreeNode };

export function modeOf(entry: RootEntry): number {
  return entry.record !== undefined ? entry.record.mode : entry.node.mode;
}

export function sizeOf(entry: RootEntry): number {
  return entry.record !== undefined ? entry.record.sizeBytes : entry.node.size;
}

/** `st_ino`, as the container sees it. */
export function inodeOf(entry: RootEntry): number {
  return entry.record !== undefined ? entry.record.inode : entry.node.number + 1;
}

export function isFile(entry: RootEntry): boolean {
  return isRegular(modeOf(entry));
}

function parentOf(path: RawName): RawName {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

export function nameOf(path: RawName): RawName {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function joinPath(folder: RawName, name: RawName): RawName {
  return folder === '/' ? `/${name}` : `${folder}/${name}`;
}

/** Names and paths are raw: one character a byte. */
export class RootView {
  readonly tree: TreeReader;
  readonly #byPath = new Map<RawName, ScanRecord>();
  readonly #below = new Map<RawName, ScanRecord[]>();
  /** Changed inodes that the tree may show under several names: only one of these is in the scan. */
  readonly #ofNode = new Map<number, ScanRecord>();
  /** Tree folders that paths show; null for a path that shows none. */
  readonly #folders = new Map<RawName, number | null>();

  constructor(tree: TreeReader, records: readonly ScanRecord[]) {
    this.tree = tree;
    for (const record of records) {
      if (record.kind !== 'whiteout' && record.kind !== 'merged' && record.origin !== null && tree.node(record.origin).nlink > 1) this.#ofNode.set(record.origin, record);
      if (!record.path.startsWith('/')) continue;
      this.#byPath.set(record.path, record);
      if (record.path === '/') continue;
      const parent = parentOf(record.path);
      const siblings = this.#below.get(parent);
      if (siblings === undefined) this.#below.set(parent, [record]);
      else siblings.push(record);
    }
  }

  /** What is at an absolute path; no symlink is followed. */
  at(path: RawName): RootEntry | undefined {
    if (path === '/') return this.#top();
    const record = this.#byPath.get(path);
    if (record !== undefined) return record.kind === 'whiteout' ? undefined : { path, record, node: undefined };
    const folder = this.#folderAt(parentOf(path));
    const node = folder === null ? undefined : this.tree.find(this.tree.node(folder), nameOf(path));
    return node === undefined ? undefined : this.#shown(path, node);
  }

  /** The entries of a folder, sorted by name. */
  children(folder: RootEntry): RootEntry[] {
    if (!isFolder(modeOf(folder))) return [];
    const found = new Map<RawName, RootEntry>();
    const shown = this.#folderAt(folder.path);
    if (shown !== null) {
      for (const { name, child } of this.tree.entries(this.tree.node(shown))) found.set(name, this.#shown(joinPath(folder.path, name), child));
    }
    for (const record of this.#below.get(folder.path) ?? []) {
      if (record.kind === 'whiteout') found.delete(nameOf(record.path));
      else found.set(nameOf(record.path), { path: record.path, record, node: undefined });
    }
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  }

  /** An entry and all that is below it, folders before what is in them. */
  *walk(from: RootEntry): Generator<RootEntry> {
    const pending = [from];
    for (let entry = pending.pop(); entry !== undefined; entry = pending.pop()) {
      yield entry;
      pending.push(...this.children(entry).reverse());
    }
  }

  /**
   * Where a path leads when the symlinks on its way are followed, the last name too if `last`. Never out of the root.
   * @param targetOf the target of a private symlink @returns undefined when it leads nowhere
   */
  resolve(path: RawName, targetOf: (entry: RootEntry) => RawName | undefined, last = false): RootEntry | undefined {
    const pending = path.split('/').filter((name) => name !== '' && name !== '.').reverse();
    let at = this.#top();
    let symlinks = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (!isFolder(modeOf(at))) return undefined;
      if (name === '..') {
        at = this.at(parentOf(at.path)) ?? this.#top();
        continue;
      }
      const next = this.at(joinPath(at.path, name));
      if (next === undefined) return undefined;
      const target = (modeOf(next) & 0o170000) === 0o120000 && (pending.length > 0 || last) ? targetOf(next) : undefined;
      if (target === undefined) {
        at = next;
        continue;
      }
      if ((symlinks += 1) > 40) return undefined;
      if (target.startsWith('/')) at = this.#top();
      pending.push(...target.split('/').filter((part) => part !== '' && part !== '.').reverse());
    }
    return at;
  }

  #top(): RootEntry {
    const record = this.#byPath.get('/');
    return record === undefined ? { path: '/', record: undefined, node: this.tree.node(0) } : { path: '/', record, node: undefined };
  }

  /** A tree node at a path that no record has. */
  #shown(path: RawName, node: TreeNode): RootEntry {
    const record = node.nlink > 1 && !isFolder(node.mode) ? this.#ofNode.get(node.number) : undefined;
    return record === undefined ? { path, record: undefined, node } : { path, record, node: undefined };
  }

  /** The tree folder that shows through at a path. */
  #folderAt(path: RawName): number | null {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    let folder: number | null = null;
    const record = this.#byPath.get(path);
    if (path === '/') folder = 0;
    else if (record !== undefined) folder = record.kind === 'merged' ? record.origin : null;
    else {
      const above = this.#folderAt(parentOf(path));
      const node = above === null ? undefined : this.tree.find(this.tree.node(above), nameOf(path));
      if (node !== undefined && isFolder(node.mode)) folder = node.number;
    }
    this.#folders.set(path, folder);
    return folder;
  }
}
