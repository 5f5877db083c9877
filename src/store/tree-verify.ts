import { entryType, isDevice, isFolder, isKnownType, isRegular, isSymlink } from './inode-types.js';
import type { RawName } from './raw-names.js';
import { ENTRY_FIELDS, ENTRY_SIZE, NO_OBJECT, OBJECT_FIELDS, OBJECT_SIZE, PAGE_SIZE } from './tree-format.js';
import { namePrefix, NODE_SIZE } from './tree-format.js';
import { TreeReader, type TreeNode } from './tree-reader.js';
import { OWN_XATTR_PREFIX } from './xattr-set.js';

/**
 * The full check of one tree image: everything that docs/formats/tree-image.md states, so that an image that passes
 * is the one that the writer would make of its hierarchy. Reads the whole file; memory grows with the different
 * strings of the tree. Whether the file's name is its digest, and whether its objects exist, `verifyTrees` checks.
 * @throws BAD_TREE with the first rule that is broken
 */
export function verifyTree(file: string): void {
  const tree = TreeReader.open(file);
  try {
    checkPages(tree);
    checkPadding(tree);
    checkNodes(tree, checkObjects(tree));
  } finally {
    tree.close();
  }
}

function checkPages(tree: TreeReader): void {
  const { checksOffset } = tree.header;
  for (let at = PAGE_SIZE; at < checksOffset; at += PAGE_SIZE) tree.pages.record(at);
  if (tree.pages.readUnchecked(checksOffset, 4).some((byte) => byte !== 0)) tree.refuse('the check of page 0 is not zero');
}

function checkPadding(tree: TreeReader): void {
  const header = tree.header;
  const gaps: readonly (readonly [number, number])[] = [
    [header.nodesOffset + header.nodeCount * NODE_SIZE, header.entriesOffset],
    [header.entriesOffset + header.entryCount * ENTRY_SIZE, header.objectsOffset],
    [header.objectsOffset + header.objectCount * OBJECT_SIZE, header.xattrsOffset],
    [header.xattrsOffset + header.xattrsSize, header.stringsOffset],
    [header.stringsOffset + header.stringsSize, header.checksOffset],
  ];
  for (const [from, to] of gaps) {
    if (to > from && tree.pages.bytes(from, to - from).some((byte) => byte !== 0)) tree.refuse('padding is not zero');
  }
}

/** Returns the objects' sizes: files name objects in no order, and looking each up again would read pages at random. */
function checkObjects(tree: TreeReader): Float64Array {
  const sizes = new Float64Array(tree.header.objectCount);
  let lastHash = '';
  let lastVariant = -1;
  for (let index = 0; index < tree.header.objectCount; index += 1) {
    const { hash, variant, size } = tree.objectAt(index);
    const { bytes, at } = tree.pages.record(tree.header.objectsOffset + index * OBJECT_SIZE);
    if (bytes.readUInt32LE(at + OBJECT_FIELDS.reserved) !== 0) tree.refuse('a reserved field of an object is not zero');
    if (hash < lastHash || (hash === lastHash && variant <= lastVariant)) tree.refuse('the objects are not sorted');
    if (size === 0) tree.refuse(`object ${index} is empty`);
    lastHash = hash;
    lastVariant = variant;
    sizes[index] = size;
  }
  return sizes;
}

/** Walks the folders in node order, as the writer does, and expects each number exactly where the writer puts it. */
function checkNodes(tree: TreeReader, objectSizes: Float64Array): void {
  const { header } = tree;
  const links = new Uint32Array(header.nodeCount);
  const usedObjects = new Uint8Array(header.objectCount);
  const strings = new StringOrder(tree);
  const xattrSets = new XattrSetOrder(tree);
  let nextNode = 1;
  let nextEntry = 0;
  let contentBytes = 0n;
  let regularCount = 0;
  if (tree.node(0).parent !== 0) tree.refuse('the parent of the root is not 0');
  for (let number = 0; number < header.nodeCount; number += 1) {
    if (number >= nextNode) tree.refuse(`node ${number} cannot be reached or has another number than its place gives`);
    const node = tree.node(number);
    checkNode(tree, node, objectSizes);
    xattrSets.use(node);
    if (isRegular(node.mode)) {
      regularCount += 1;
      contentBytes += BigInt(node.size);
      if (node.data !== NO_OBJECT) usedObjects[node.data] = 1;
    }
    if (!isFolder(node.mode)) continue;
    if (node.data !== nextEntry) tree.refuse(`the entries of node ${number} do not follow those of the folder before`);
    let subfolders = 0;
    let lastName: RawName = '';
    const { end } = tree.entryRange(node);
    for (; nextEntry < end; nextEntry += 1) {
      const entry = tree.entryAt(nextEntry);
      checkEntryRecord(tree, nextEntry, entry.name, lastName);
      lastName = entry.name;
      strings.use(nextEntry, entry.name);
      const child = tree.node(entry.node);
      if (entryType(child.mode) !== entry.type) tree.refuse(`entry ${nextEntry} differs in type from its node`);
      if (entry.node === nextNode) {
        nextNode += 1;
        if (child.parent !== number) tree.refuse(`node ${entry.node} names another parent than the folder of its first name`);
        if (isSymlink(child.mode)) strings.useTarget(child);
      } else if (entry.node > nextNode || isFolder(child.mode)) {
        tree.refuse(`entry ${nextEntry} names node ${entry.node} out of turn`);
      }
      if (isFolder(child.mode)) subfolders += 1;
      else links[entry.node] = (links[entry.node] ?? 0) + 1;
    }
    links[number] = 2 + subfolders;
  }
  if (nextEntry !== header.entryCount) tree.refuse('entries stand in no folder');
  strings.finish();
  xattrSets.finish();
  for (let number = 0; number < header.nodeCount; number += 1) {
    if (tree.node(number).nlink !== links[number]) tree.refuse(`node ${number} has a wrong link count`);
  }
  if (usedObjects.includes(0)) tree.refuse('an object is not used');
  if (contentBytes !== header.contentBytes) tree.refuse('content_bytes is wrong');
  if (regularCount !== header.regularCount) tree.refuse('regular_count is wrong');
}

function checkEntryRecord(tree: TreeReader, index: number, name: RawName, lastName: RawName): void {
  const { bytes, at } = tree.pages.record(tree.header.entriesOffset + index * ENTRY_SIZE);
  if (bytes.readUInt8(at + ENTRY_FIELDS.reserved) !== 0) tree.refuse('a reserved field of an entry is not zero');
  if (bytes.readUInt32LE(at + ENTRY_FIELDS.prefix) !== namePrefix(name)) tree.refuse(`entry ${index} has a wrong name prefix`);
  if (lastName >= name) tree.refuse(`entry ${index} is not in the order of names`);
}

function checkNode(tree: TreeReader, node: TreeNode, objectSizes: Float64Array): void {
  const broken = (rule: string): never => tree.refuse(`node ${node.number}: ${rule}`);
  if (!isKnownType(node.mode) || node.mode > 0o177777) broken('its mode is not valid');
  if (node.mtimeNanoseconds > 999_999_999) broken('its nanoseconds are out of range');
  if (node.rdev !== 0 && !isDevice(node.mode)) broken('it has a device number and is no device');
  if (node.entryCount !== 0 && !isFolder(node.mode)) broken('it has entries and is no folder');
  if (isRegular(node.mode)) {
    const objectSize = node.data === NO_OBJECT ? 0 : objectSizes[node.data];
    if (objectSize === undefined) broken('its object is outside its section');
    if (objectSize !== node.size) broken('its size is not that of its object');
    if (node.blocks % 8 !== 0 || node.blocks > 8 * Math.ceil(node.size / PAGE_SIZE)) broken('its blocks cannot be');
    return;
  }
  if (node.blocks !== 0) broken('it has blocks and is no regular file');
  if (isSymlink(node.mode)) {
    if (tree.target(node).includes('\0')) broken('its target holds a NUL');
  } else if (node.size !== 0) {
    broken('it has a size and is neither file nor symlink');
  } else if (node.data !== 0 && !isFolder(node.mode)) {
    broken('it has data and must not');
  }
}

/** Expects each string where the writer puts it: at the end of those before, or where an equal one stands. */
class StringOrder {
  readonly #tree: TreeReader;
  readonly #offsets = new Map<string, number>();
  #next = 0;

  constructor(tree: TreeReader) {
    this.#tree = tree;
  }

  use(entry: number, name: RawName): void {
    const { bytes, at } = this.#tree.pages.record(this.#tree.header.entriesOffset + entry * ENTRY_SIZE);
    this.#expect(bytes.readUInt32LE(at + ENTRY_FIELDS.nameOffset), name);
  }

  useTarget(symlink: TreeNode): void {
    this.#expect(symlink.data, this.#tree.target(symlink));
  }

  finish(): void {
    if (this.#next !== this.#tree.header.stringsSize) this.#tree.refuse('strings are not used');
  }

  #expect(offset: number, text: string): void {
    const known = this.#offsets.get(text);
    if (offset !== (known ?? this.#next)) this.#tree.refuse(`the string at ${offset} is not where it must be`);
    if (known !== undefined) return;
    this.#offsets.set(text, offset);
    this.#next += text.length;
  }
}

class XattrSetOrder {
  readonly #tree: TreeReader;
  readonly #ends = new Set<number>();
  readonly #contents = new Set<string>();
  #next = 0;

  constructor(tree: TreeReader) {
    this.#tree = tree;
  }

  use(node: TreeNode): void {
    if (node.xattrs === 0) return;
    const offset = node.xattrs - 1;
    if (this.#ends.has(offset)) return;
    if (offset !== this.#next) this.#tree.refuse(`the xattr set at ${offset} is not where it must be`);
    const { xattrs, length, clean } = this.#tree.xattrSetAt(offset);
    if (xattrs.length === 0) this.#tree.refuse(`the xattr set at ${offset} is empty`);
    if (!clean) this.#tree.refuse(`the xattr set at ${offset} has reserved bytes that are not zero`);
    let last = '';
    for (const { name } of xattrs) {
      if (name.length === 0 || name.length > 255 || name.includes('\0')) this.#tree.refuse('an xattr has an invalid name');
      if (name.startsWith(OWN_XATTR_PREFIX)) this.#tree.refuse(`a tree must not hold ${OWN_XATTR_PREFIX}*`);
      if (name <= last) this.#tree.refuse(`the xattr set at ${offset} is not sorted`);
      last = name;
    }
    const content = this.#tree.pages.bytes(this.#tree.header.xattrsOffset + offset, length).toString('latin1');
    if (this.#contents.has(content)) this.#tree.refuse(`the xattr set at ${offset} is there twice`);
    this.#contents.add(content);
    this.#ends.add(offset);
    this.#next = offset + length;
  }

  finish(): void {
    if (this.#next !== this.#tree.header.xattrsSize) this.#tree.refuse('xattr sets are not used');
  }
}
