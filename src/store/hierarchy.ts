import type { ObjectReference } from './object-id.js';
import type { RawName } from './raw-names.js';
import { isFolder } from './inode-types.js';
import { encodeXattrSet, type Xattr } from './xattr-set.js';

/** A node's place in one `Hierarchy`. It is not the node's number in the tree image. */
export type NodeIndex = number;

/** What every inode has. */
export interface NodeMetadata {
  /** Type and permission bits as in `st_mode`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Whole seconds since 1970, rounded down; may be negative. A safe integer. */
  readonly mtimeSeconds: number;
  /** 0 … 999,999,999, counted forward from `mtimeSeconds`. */
  readonly mtimeNanoseconds: number;
  /** Device number of a device node (`encodeDevice`); 0 for all others. */
  readonly rdev?: number;
}

// One node is 56 bytes in one buffer, seen as 14 u32 and as 7 doubles: a million nodes as JavaScript objects
// would take several times as much, and give the garbage collector as many things to walk.
const WORDS = 14;
const DOUBLES = 7;
const MODE = 0;
const UID = 1;
const GID = 2;
const RDEV = 3;
const NANOSECONDS = 4;
const OBJECT = 5;
const XATTRS = 6;
const SECONDS = 4;
const SIZE = 5;
const BLOCKS = 6;

const ROOT_METADATA: NodeMetadata = { mode: 0o040755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };
const NO_CHILDREN: ReadonlyMap<RawName, NodeIndex> = new Map();

/**
 * A file hierarchy in memory that can be changed until `writeTree` makes a tree image of it. Names are raw (one
 * character a byte). Nodes without a name are allowed and are not written; link counts come from the names.
 */
export class Hierarchy {
  readonly root: NodeIndex = 0;
  /** Objects that files refer to, by the number `setObject` gets. */
  readonly objects: ObjectReference[] = [];
  #words = new Uint32Array(WORDS * 64);
  #doubles = new Float64Array(this.#words.buffer);
  #count = 0;
  readonly #children: (Map<RawName, NodeIndex> | undefined)[] = [];
  readonly #targets = new Map<NodeIndex, RawName>();
  readonly #xattrSets: Buffer[] = [];
  readonly #xattrSetNumbers = new Map<string, number>();
  #xattrBytes = 0;

  constructor(root: NodeMetadata = ROOT_METADATA) {
    this.addNode(root);
  }

  /** Nodes ever added, those without a name included. */
  get nodeCount(): number {
    return this.#count;
  }

  /** Bytes of all different xattr sets: what they take in memory and in the image. */
  get xattrBytes(): number {
    return this.#xattrBytes;
  }

  /** Adds an inode that has no name yet. */
  addNode(metadata: NodeMetadata): NodeIndex {
    const node = this.#count;
    if ((node + 1) * WORDS > this.#words.length) this.#grow();
    this.#count += 1;
    this.setMetadata(node, metadata);
    return node;
  }

  setMetadata(node: NodeIndex, metadata: NodeMetadata): void {
    const words = this.#words;
    const at = node * WORDS;
    words[at + MODE] = metadata.mode;
    words[at + UID] = metadata.uid;
    words[at + GID] = metadata.gid;
    words[at + RDEV] = metadata.rdev ?? 0;
    words[at + NANOSECONDS] = metadata.mtimeNanoseconds;
    this.#doubles[node * DOUBLES + SECONDS] = metadata.mtimeSeconds;
  }

  metadata(node: NodeIndex): Required<NodeMetadata> {
    return {
      mode: this.mode(node),
      uid: this.#word(node, UID),
      gid: this.#word(node, GID),
      mtimeSeconds: this.#double(node, SECONDS),
      mtimeNanoseconds: this.#word(node, NANOSECONDS),
      rdev: this.#word(node, RDEV),
    };
  }

  mode(node: NodeIndex): number {
    return this.#word(node, MODE);
  }

  /** The name's node in a folder. */
  child(folder: NodeIndex, name: RawName): NodeIndex | undefined {
    return this.#children[folder]?.get(name);
  }

  /** All names of a folder, in no order that means anything. */
  children(folder: NodeIndex): ReadonlyMap<RawName, NodeIndex> {
    return this.#children[folder] ?? NO_CHILDREN;
  }

  /** Gives a node a name; a node that had it before loses it. The name must be valid (`isValidName`). */
  setChild(folder: NodeIndex, name: RawName, node: NodeIndex): void {
    if (!isFolder(this.mode(folder))) throw new Error('only folders have children');
    const children = (this.#children[folder] ??= new Map<RawName, NodeIndex>());
    children.set(name, node);
  }

  removeChild(folder: NodeIndex, name: RawName): void {
    this.#children[folder]?.delete(name);
  }

  /**
   * Sets the content of a regular file.
   * @param object index in `objects`, or undefined for an empty file
   * @param size bytes
   * @param blocks 512-byte blocks with holes left out: 8 for each 4 KiB page that holds data
   */
  setContent(node: NodeIndex, object: number | undefined, size: number, blocks: number): void {
    this.#words[node * WORDS + OBJECT] = object === undefined ? 0 : object + 1;
    this.#doubles[node * DOUBLES + SIZE] = size;
    this.#doubles[node * DOUBLES + BLOCKS] = blocks;
  }

  /** The index in `objects`; undefined for an empty file. */
  object(node: NodeIndex): number | undefined {
    const word = this.#word(node, OBJECT);
    return word === 0 ? undefined : word - 1;
  }

  size(node: NodeIndex): number {
    return this.#double(node, SIZE);
  }

  blocks(node: NodeIndex): number {
    return this.#double(node, BLOCKS);
  }

  /** Sets a symlink's target: 1 … 4095 bytes. */
  setTarget(node: NodeIndex, target: RawName): void {
    this.#targets.set(node, target);
  }

  target(node: NodeIndex): RawName | undefined {
    return this.#targets.get(node);
  }

  /** Replaces all xattrs of a node. Names are 1 … 255 bytes and differ; sets that are equal are kept once. */
  setXattrs(node: NodeIndex, xattrs: readonly Xattr[]): void {
    this.#words[node * WORDS + XATTRS] = xattrs.length === 0 ? 0 : this.#internXattrs(encodeXattrSet(xattrs)) + 1;
  }

  /** The number of the node's xattr set; undefined without xattrs. */
  xattrSet(node: NodeIndex): number | undefined {
    const word = this.#word(node, XATTRS);
    return word === 0 ? undefined : word - 1;
  }

  /** The encoded bytes of a set, as the image holds them. */
  xattrSetBytes(set: number): Buffer {
    const bytes = this.#xattrSets[set];
    if (bytes === undefined) throw new Error(`no xattr set ${set}`);
    return bytes;
  }

  #internXattrs(encoded: Buffer): number {
    const key = encoded.toString('latin1');
    let number = this.#xattrSetNumbers.get(key);
    if (number === undefined) {
      number = this.#xattrSets.push(encoded) - 1;
      this.#xattrSetNumbers.set(key, number);
      this.#xattrBytes += encoded.length;
    }
    return number;
  }

  #word(node: NodeIndex, field: number): number {
    const word = this.#words[node * WORDS + field];
    if (word === undefined || node >= this.#count) throw new Error(`no node ${node}`);
    return word;
  }

  #double(node: NodeIndex, field: number): number {
    const double = this.#doubles[node * DOUBLES + field];
    if (double === undefined || node >= this.#count) throw new Error(`no node ${node}`);
    return double;
  }

  #grow(): void {
    const words = new Uint32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
    this.#doubles = new Float64Array(words.buffer);
  }
}
