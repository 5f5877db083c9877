import type { ScanRecord } from '../engine/scan.js';
import { isFolder, isRegular } from '../store/inode-types.js';
import { printableName, type RawName } from '../store/raw-names.js';
import type { TreeNode, TreeReader } from '../store/tree-reader.js';

/*
 * What a container's private area means on top of its tree. The records of a scan say what lies in the private area;
 * only together with the tree do they say what was added, changed, deleted or moved, and how large the whole is.
 * Everything here costs what the container changed, not what its template holds.
 */

export type ChangeKind = 'added' | 'changed' | 'metadata' | 'renamed' | 'deleted';

/** One line of `diff`. */
export interface Change {
  /** As UTF-8 where it is that; other bytes as `\xNN`. */
  readonly path: string;
  /** `A`, `C` or `D`, as in `docker diff` and `podman diff`. */
  readonly letter: 'A' | 'C' | 'D';
  readonly change: ChangeKind;
  readonly type: string;
  /** A renamed entry: where the template has it. */
  readonly from?: string;
}

export interface RawChange extends Change {
  readonly raw: RawName;
}

const TYPE_NAMES: Readonly<Record<number, string>> = {
  0o010000: 'fifo',
  0o020000: 'char',
  0o040000: 'dir',
  0o060000: 'block',
  0o100000: 'file',
  0o120000: 'symlink',
  0o140000: 'socket',
};

export function typeName(mode: number): string {
  return TYPE_NAMES[mode & 0o170000] ?? 'unknown';
}

function parentOf(path: RawName): RawName {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

function nameOf(path: RawName): RawName {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** A tree and the scan of one private area above it. Names and paths are raw: one character a byte. */
export class PrivateView {
  readonly #tree: TreeReader;
  readonly #records: readonly ScanRecord[];
  readonly #byPath = new Map<RawName, ScanRecord>();
  /** Tree folders that container paths are merged with; null for a path that shows no tree folder. */
  readonly #folders = new Map<RawName, number | null>();
  /** Tree nodes that live on as copies, wherever those are. */
  readonly #kept = new Set<number>();
  /** Tree nodes of which names are gone, and how many. */
  readonly #gone = new Map<number, number>();

  constructor(tree: TreeReader, records: readonly ScanRecord[]) {
    this.#tree = tree;
    this.#records = records.filter(({ path }) => path.startsWith('/'));
    for (const record of this.#records) {
      this.#byPath.set(record.path, record);
      if (record.origin !== null && record.kind !== 'whiteout') this.#kept.add(record.origin);
    }
    for (const record of this.#records) {
      const hidden = this.#hiddenBy(record);
      if (hidden !== undefined) this.#countGone(hidden);
    }
  }

  /** Content of all regular files that the container sees, each inode once. */
  logicalBytes(): number {
    let bytes = Number(this.#tree.header.contentBytes);
    const seen = new Set<number>();
    for (const record of this.#records) {
      if (!isRegular(record.mode) || record.kind === 'whiteout' || seen.has(record.inode)) continue;
      seen.add(record.inode);
      bytes += record.sizeBytes;
      const origin = record.origin === null ? undefined : this.#tree.node(record.origin);
      if (origin !== undefined && isRegular(origin.mode)) bytes -= origin.size;
    }
    for (const [number, names] of this.#gone) {
      const node = this.#tree.node(number);
      if (isRegular(node.mode) && names >= node.nlink && !this.#kept.has(number)) bytes -= node.size;
    }
    return bytes;
  }

  /** What differs from the tree, sorted by path. */
  changes(): Change[] {
    return this.rawChanges().map(withoutRawPath);
  }

  /** The same with the path as bytes. */
  rawChanges(): RawChange[] {
    const changes: RawChange[] = [];
    for (const record of this.#records) {
      const change = record.kind === 'whiteout' ? this.#deletion(record) : this.#change(record);
      if (change !== undefined) changes.push(change);
      if (record.kind === 'dir') changes.push(...this.#hiddenChildren(record));
    }
    changes.push(...this.#otherNames());
    return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }

  /** The tree folder that shows through at a path of the container. */
  #folderAt(path: RawName): number | null {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    const record = this.#byPath.get(path);
    let folder: number | null = null;
    if (path === '/') folder = 0;
    else if (record !== undefined) folder = record.kind === 'merged' ? record.origin : null;
    else {
      const child = this.#treeChild(path);
      folder = child !== undefined && isFolder(child.mode) ? child.number : null;
    }
    this.#folders.set(path, folder);
    return folder;
  }

  /** What the tree has at a path, seen through merged folders and without regard to what lies above it. */
  #treeChild(path: RawName): TreeNode | undefined {
    if (path === '/') return this.#tree.node(0);
    const folder = this.#folderAt(parentOf(path));
    return folder === null ? undefined : this.#tree.find(this.#tree.node(folder), nameOf(path));
  }

  /** The tree node whose name at this path a record hides; undefined if none, or if the record is that node's copy. */
  #hiddenBy(record: ScanRecord): TreeNode | undefined {
    const node = this.#treeChild(record.path);
    const isCopy = record.kind !== 'whiteout' && record.origin === node?.number;
    return isCopy || record.path === '/' ? undefined : node;
  }

  #countGone(node: TreeNode): void {
    const pending = [node];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      this.#gone.set(next.number, (this.#gone.get(next.number) ?? 0) + 1);
      if (!isFolder(next.mode) || this.#kept.has(next.number)) continue;
      for (const entry of this.#tree.entries(next)) pending.push(entry.child);
    }
  }

  #deletion(record: ScanRecord): RawChange | undefined {
    const node = this.#treeChild(record.path);
    if (node === undefined) return undefined;
    return { raw: record.path, path: printableName(record.path), letter: 'D', change: 'deleted', type: typeName(node.mode) };
  }

  #change(record: ScanRecord): RawChange | undefined {
    const path = printableName(record.path);
    const type = typeName(record.mode);
    const below = this.#treeChild(record.path);
    const letter = below === undefined ? 'A' : 'C';
    if (record.origin === null) return { raw: record.path, path, letter, change: below === undefined ? 'added' : 'changed', type };
    const origin = this.#tree.node(record.origin);
    if (origin.number !== below?.number) {
      const moved = (this.#gone.get(origin.number) ?? 0) > 0;
      if (!moved) return { raw: record.path, path, letter, change: below === undefined ? 'added' : 'changed', type };
      return { raw: record.path, path, letter, change: 'renamed', type, from: printableName(this.#treePath(origin)) };
    }
    if (this.#contentDiffers(record, origin)) return { raw: record.path, path, letter, change: 'changed', type };
    // A copied-up folder is in the private area for what lies in it; by itself it may be as it was.
    if (record.kind === 'merged' && !metadataDiffers(record, origin)) return undefined;
    return { raw: record.path, path, letter, change: 'metadata', type };
  }

  #contentDiffers(record: ScanRecord, origin: TreeNode): boolean {
    if (record.kind === 'link') {
      const object = isRegular(origin.mode) ? this.#tree.object(origin) : undefined;
      if (object === undefined) return true;
      return record.object !== (object.variant === 0 ? object.hash : `${object.hash}.${object.variant}`);
    }
    // Both empty is the only case of equal content that can be told without reading it.
    return isRegular(record.mode) && !(record.sizeBytes === 0 && origin.size === 0);
  }

  /** A folder that was deleted and made anew hides what the tree has in it. */
  *#hiddenChildren(record: ScanRecord): Generator<RawChange> {
    const node = this.#treeChild(record.path);
    if (node === undefined || !isFolder(node.mode)) return;
    for (const { name, child } of this.#tree.entries(node)) {
      const path = `${record.path}/${name}`;
      if (this.#byPath.has(path)) continue;
      yield { raw: path, path: printableName(path), letter: 'D', change: 'deleted', type: typeName(child.mode) };
    }
  }

  /** A changed inode that the tree shows under several names is changed under each; the scan names one. */
  *#otherNames(): Generator<RawChange> {
    const wanted = new Map<number, ScanRecord>();
    for (const record of this.#records) {
      if (record.origin === null || record.kind === 'merged' || record.kind === 'whiteout') continue;
      if (this.#tree.node(record.origin).nlink > 1) wanted.set(record.origin, record);
    }
    if (wanted.size === 0) return;
    for (let number = 0; number < this.#tree.header.nodeCount; number++) {
      const folder = this.#tree.node(number);
      if (!isFolder(folder.mode)) continue;
      for (const { name, child } of this.#tree.entries(folder)) {
        const record = wanted.get(child.number);
        if (record === undefined) continue;
        const folderPath = this.#treePath(folder);
        const path = folderPath === '/' ? `/${name}` : `${folderPath}/${name}`;
        if (this.#byPath.has(path) || this.#treeChild(path)?.number !== child.number) continue;
        const change = this.#contentDiffers(record, child) ? 'changed' : 'metadata';
        yield { raw: path, path: printableName(path), letter: 'C', change, type: typeName(record.mode) };
      }
    }
  }

  /** The path of a node's first name in the tree. */
  #treePath(node: TreeNode): RawName {
    const names: RawName[] = [];
    for (let at = node; at.number !== 0; ) {
      const parent = this.#tree.node(at.parent);
      let found: RawName | undefined;
      for (const entry of this.#tree.entries(parent)) {
        if (entry.child.number === at.number) {
          found = entry.name;
          break;
        }
      }
      if (found === undefined) return this.#tree.refuse(`node ${at.number} is not in the folder that its parent field names`);
      names.push(found);
      at = parent;
    }
    return `/${names.reverse().join('/')}`;
  }
}

/** A change as JSON can hold it. */
export function withoutRawPath({ path, letter, change, type, from }: RawChange): Change {
  return { path, letter, change, type, ...(from !== undefined && { from }) };
}

export function metadataDiffers(record: ScanRecord, origin: TreeNode): boolean {
  return (
    record.mode !== origin.mode ||
    record.uid !== origin.uid ||
    record.gid !== origin.gid ||
    BigInt(record.mtimeSeconds) !== origin.mtimeSeconds ||
    record.mtimeNanoseconds !== origin.mtimeNanoseconds
  );
}
