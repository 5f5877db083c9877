import { entryType, isFolder, isRegular, isSymlink } from './inode-types.js';
import type { ObjectReference } from './object-id.js';
import { isValidName, type RawName } from './raw-names.js';
import { ENTRY_FIELDS, ENTRY_SIZE, HEADER_SIZE, MAX_TARGET_LENGTH, namePrefix, NO_OBJECT, NODE_FIELDS, NODE_SIZE } from './tree-format.js';
import { OBJECT_FIELDS, OBJECT_SIZE } from './tree-format.js';
import { readTreeHeader, type TreeHeader } from './tree-header.js';
import { badTree, TreePages } from './tree-pages.js';
import { decodeXattrSet, type DecodedXattrSet, type Xattr } from './xattr-set.js';

/** One inode of a tree: the record of docs/formats/tree-image.md. */
export interface TreeNode {
  /** Its number; `st_ino` is one more. */
  readonly number: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly mtimeSeconds: bigint;
  readonly mtimeNanoseconds: number;
  readonly rdev: number;
  /** Bytes of a regular file or of a symlink's target; else 0. */
  readonly size: number;
  /** Folder: its first entry; regular file: its object; symlink: its target's offset. */
  readonly data: number;
  readonly entryCount: number;
  /** 0, or 1 + the offset of the xattr set. */
  readonly xattrs: number;
  readonly parent: number;
  /** 512-byte blocks of a regular file with its holes left out. */
  readonly blocks: number;
}

/** One name in a folder. */
export interface TreeEntry {
  readonly name: RawName;
  /** As `d_type`. */
  readonly type: number;
  /** The number of its node. */
  readonly node: number;
}

/**
 * Reads one tree image straight from its file. Opening costs the same whatever the tree's size; each page is read and
 * checked when it is first used. Numbers and offsets are checked against their sections before they are followed.
 * Whatever is broken throws BAD_TREE, which names the file. Close it, or the file descriptor stays open.
 */
export class TreeReader {
  readonly header: TreeHeader;
  readonly #pages: TreePages;

  private constructor(pages: TreePages) {
    this.#pages = pages;
    this.header = readTreeHeader(pages.readUnchecked(0, HEADER_SIZE), pages.size, (rule) => this.refuse(rule));
    pages.setChecks(this.header.checksOffset);
    if (!isFolder(this.node(0).mode)) this.refuse('node 0 is no folder');
  }

  /** @throws BAD_TREE; the system error of open(2) when there is no such file */
  static open(file: string): TreeReader {
    const pages = new TreePages(file);
    try {
      return new TreeReader(pages);
    } catch (error) {
      pages.close();
      throw error;
    }
  }

  get file(): string {
    return this.#pages.file;
  }

  close(): void {
    this.#pages.close();
  }

  /** Throws BAD_TREE with the rule that the image breaks. */
  refuse(rule: string): never {
    throw badTree(this.file, rule);
  }

  /** The page source, for `verifyTree`. */
  get pages(): TreePages {
    return this.#pages;
  }

  node(number: number): TreeNode {
    if (number >= this.header.nodeCount) this.refuse(`node ${number} is outside its section`);
    const { bytes, at } = this.#pages.record(this.header.nodesOffset + number * NODE_SIZE);
    return {
      number,
      mode: bytes.readUInt32LE(at + NODE_FIELDS.mode),
      uid: bytes.readUInt32LE(at + NODE_FIELDS.uid),
      gid: bytes.readUInt32LE(at + NODE_FIELDS.gid),
      nlink: bytes.readUInt32LE(at + NODE_FIELDS.nlink),
      mtimeSeconds: bytes.readBigInt64LE(at + NODE_FIELDS.mtimeSeconds),
      mtimeNanoseconds: bytes.readUInt32LE(at + NODE_FIELDS.mtimeNanoseconds),
      rdev: bytes.readUInt32LE(at + NODE_FIELDS.rdev),
      size: this.#safeU64(bytes, at + NODE_FIELDS.size),
      data: bytes.readUInt32LE(at + NODE_FIELDS.data),
      entryCount: bytes.readUInt32LE(at + NODE_FIELDS.entryCount),
      xattrs: bytes.readUInt32LE(at + NODE_FIELDS.xattrs),
      parent: bytes.readUInt32LE(at + NODE_FIELDS.parent),
      blocks: this.#safeU64(bytes, at + NODE_FIELDS.blocks),
    };
  }

  /** An entry by its place in the section, its name checked. */
  entryAt(index: number): TreeEntry {
    const { bytes, at } = this.#entryRecord(index);
    const name = this.#entryName(bytes, at);
    if (!isValidName(name)) this.refuse(`entry ${index} has an invalid name`);
    return { name, type: bytes.readUInt8(at + ENTRY_FIELDS.type), node: bytes.readUInt32LE(at + ENTRY_FIELDS.node) };
  }

  /** Where a folder's entries stand, checked against the section. */
  entryRange(folder: TreeNode): { readonly first: number; readonly end: number } {
    if (!isFolder(folder.mode)) throw new Error(`node ${folder.number} is no folder`);
    const end = folder.data + folder.entryCount;
    if (end > this.header.entryCount) this.refuse(`the entries of node ${folder.number} are outside their section`);
    return { first: folder.data, end };
  }

  /** A folder's entries in order; each node is checked as `child` checks it. */
  *entries(folder: TreeNode): Generator<TreeEntry & { readonly child: TreeNode }> {
    const { first, end } = this.entryRange(folder);
    for (let index = first; index < end; index += 1) {
      const entry = this.entryAt(index);
      yield { ...entry, child: this.#follow(folder, entry) };
    }
  }

  /** Looks one name up in a folder: a binary search that reads O(log n) entries. */
  find(folder: TreeNode, name: RawName): TreeNode | undefined {
    const wanted = namePrefix(name);
    let { first, end } = this.entryRange(folder);
    while (first < end) {
      const middle = (first + end) >>> 1;
      const { bytes, at } = this.#entryRecord(middle);
      const prefix = bytes.readUInt32LE(at + ENTRY_FIELDS.prefix);
      const found = prefix === wanted ? this.#entryName(bytes, at) : undefined;
      if (found === name) return this.#follow(folder, this.entryAt(middle));
      if (found === undefined ? prefix < wanted : found < name) first = middle + 1;
      else end = middle;
    }
    return undefined;
  }

  /** Looks a path up from the root, without following symlinks. Empty and `.` components are skipped. */
  lookup(path: RawName): TreeNode | undefined {
    let node = this.node(0);
    for (const name of path.split('/')) {
      if (name === '' || name === '.') continue;
      if (!isFolder(node.mode)) return undefined;
      const child = this.find(node, name);
      if (child === undefined) return undefined;
      node = child;
    }
    return node;
  }

  target(symlink: TreeNode): RawName {
    if (!isSymlink(symlink.mode)) throw new Error(`node ${symlink.number} is no symlink`);
    if (symlink.size === 0 || symlink.size > MAX_TARGET_LENGTH) this.refuse(`the target of node ${symlink.number} has ${symlink.size} bytes`);
    return this.string(symlink.data, symlink.size);
  }

  /** The object of a regular file; undefined for an empty one. */
  object(file: TreeNode): ObjectReference | undefined {
    if (!isRegular(file.mode)) throw new Error(`node ${file.number} is no regular file`);
    return file.data === NO_OBJECT ? undefined : this.objectAt(file.data);
  }

  objectAt(index: number): ObjectReference {
    if (index >= this.header.objectCount) this.refuse(`object ${index} is outside its section`);
    const { bytes, at } = this.#pages.record(this.header.objectsOffset + index * OBJECT_SIZE);
    return {
      hash: bytes.toString('hex', at + OBJECT_FIELDS.hash, at + OBJECT_FIELDS.hash + 16),
      variant: bytes.readUInt32LE(at + OBJECT_FIELDS.variant),
      size: this.#safeU64(bytes, at + OBJECT_FIELDS.size),
    };
  }

  /** All objects that the tree uses, in the order of their ids. */
  *objects(): Generator<ObjectReference> {
    for (let index = 0; index < this.header.objectCount; index += 1) yield this.objectAt(index);
  }

  /** A node's xattrs, sorted by name. */
  xattrs(node: TreeNode): readonly Xattr[] {
    return node.xattrs === 0 ? [] : this.xattrSetAt(node.xattrs - 1).xattrs;
  }

  /** The xattr set at an offset of its section. */
  xattrSetAt(offset: number): DecodedXattrSet {
    const read = (at: number, length: number): Buffer => {
      if (at + length > this.header.xattrsSize) this.refuse(`the xattr set at ${offset} is outside its section`);
      return this.#pages.bytes(this.header.xattrsOffset + at, length);
    };
    return decodeXattrSet(read, offset);
  }

  /** Bytes of the strings section as a raw string. */
  string(offset: number, length: number): RawName {
    if (offset + length > this.header.stringsSize) this.refuse(`the string at ${offset} is outside its section`);
    return this.#pages.bytes(this.header.stringsOffset + offset, length).toString('latin1');
  }

  /** Refuses an entry that lies about its node's type, and a folder that is entered from another than its parent. */
  #follow(folder: TreeNode, entry: TreeEntry): TreeNode {
    const child = this.node(entry.node);
    if (entryType(child.mode) !== entry.type) this.refuse(`an entry of node ${folder.number} differs in type from node ${child.number}`);
    if (isFolder(child.mode) && (child.parent !== folder.number || child.number === 0)) {
      this.refuse(`node ${child.number} is not in the folder that its parent field names`);
    }
    return child;
  }

  #entryRecord(index: number): { readonly bytes: Buffer; readonly at: number } {
    if (index >= this.header.entryCount) this.refuse(`entry ${index} is outside its section`);
    return this.#pages.record(this.header.entriesOffset + index * ENTRY_SIZE);
  }

  #entryName(bytes: Buffer, at: number): RawName {
    return this.string(bytes.readUInt32LE(at + ENTRY_FIELDS.nameOffset), bytes.readUInt16LE(at + ENTRY_FIELDS.nameLength));
  }

  #safeU64(bytes: Buffer, at: number): number {
    const value = bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
    if (!Number.isSafeInteger(value)) this.refuse('a size is out of range');
    return value;
  }
}
