import { base, GOLDEN } from './hierarchies.js';
import { Surgery } from './image-surgery.js';
import { Hierarchy } from '../../../src/store/hierarchy.js';
import { HEADER_FIELDS, NODE_FIELDS, NO_OBJECT, PAGE_SIZE } from '../../../src/store/tree-format.js';

/**
 * Images that must be refused, each made by breaking one rule of an image that is sound.
 * When: `opening`, on first `use` (look-up or dump of what is broken), or only by the `full` check.
 */
export interface RefusedImage {
  readonly when: 'opening' | 'use' | 'full';
  readonly rule: string;
  readonly make: () => Buffer;
}

/*
 * The tree `base`, which most are made from:
 *   nodes   0 /  1 file  2 large  3 link  4 other  5 sub  6 sub/inner  7 sub/null  8 sub/inner/deep
 *   entries 0 file  1 large  2 link  3 other  4 sub | 5 inner  6 null | 7 deep
 *   strings 0 file  4 large  9 link  13 sub/inner  22 other  27 sub  30 inner  35 null  39 deep
 *   xattrs  0 user.a, user.b (node 2)  44 user.c (node 4), 68 bytes
 */
const NAME_OFFSET = 0;
const NAME_LENGTH = 4;
const ENTRY_TYPE = 6;
const ENTRY_NODE = 8;
const ENTRY_PREFIX = 12;

const refused: Record<string, RefusedImage> = {};

function add(when: RefusedImage['when'], name: string, rule: string, change: (image: Surgery) => unknown, tree = base): void {
  refused[name] = {
    when,
    rule,
    make: () => {
      const image = new Surgery(tree());
      change(image);
      return image.seal().bytes;
    },
  };
}

/** As `add`, but the checks are left as the change leaves them. */
function addUnsealed(when: RefusedImage['when'], name: string, rule: string, change: (image: Surgery) => unknown, tree = base): void {
  refused[name] = {
    when,
    rule,
    make: () => {
      const image = new Surgery(tree());
      change(image);
      return image.bytes;
    },
  };
}

const wide = GOLDEN['wide'] ?? base;
const header = HEADER_FIELDS;
const field = NODE_FIELDS;

addUnsealed('opening', 'empty-file', 'the file has no bytes', (i) => (i.bytes = Buffer.alloc(0)));
addUnsealed('opening', 'header-cut-short', 'the file ends inside the header', (i) => (i.bytes = i.bytes.subarray(0, 100)));
add('opening', 'magic', 'the magic is wrong', (i) => i.u8(0, 0x74));
add('opening', 'version', 'the version is not 1', (i) => i.u32(header.version, 2));
add('opening', 'flag', 'a flag is set', (i) => i.u32(header.flags, 1));
addUnsealed('opening', 'header-crc', 'the CRC of the header differs', (i) => i.u32(header.regularCount, 77));
add('opening', 'header-reserved', 'a reserved field of the header is not zero', (i) => i.u32(header.reserved, 1));
add('opening', 'header-reserved-end', 'a reserved field of the header is not zero', (i) => i.u64(header.reservedEnd, 1));
add('opening', 'header-padding', 'the padding of the header is not zero', (i) => i.u8(2000, 1));
add('opening', 'file-size', 'file_size is not that of the sections', (i) => i.u64(header.fileSize, 1));
addUnsealed('opening', 'cut-short', 'the file is shorter than file_size', (i) => (i.bytes = i.bytes.subarray(0, -4)));
addUnsealed('opening', 'trailing-bytes', 'the file is longer than file_size', (i) => (i.bytes = Buffer.concat([i.bytes, Buffer.alloc(4)])));
add('opening', 'node-count-zero', 'node_count is 0', (i) => i.u32(header.nodeCount, 0));
add('opening', 'node-count-too-large', 'node_count is 2^28', (i) => i.u32(header.nodeCount, 2 ** 28));
add('opening', 'entry-count-too-large', 'the entries overlap the objects', (i) => i.u32(header.entryCount, 0xffff_ffff));
add('opening', 'object-count-too-large', 'the objects overlap the xattrs', (i) => i.u32(header.objectCount, 0xffff_ffff));
add('opening', 'nodes-offset', 'nodes_offset is not 4096', (i) => i.u64(header.nodesOffset, 4160));
add('opening', 'entries-offset', 'a gap lies before the entries', (i) => i.u64(header.entriesOffset, i.section(header.entriesOffset) + 64));
add('opening', 'objects-offset-overflow', 'objects_offset is near 2^64', (i) => i.u64(header.objectsOffset, 2n ** 64n - 64n));
add('opening', 'section-order', 'xattrs and strings lie in the other order', (i) => i.swap(header.xattrsOffset, header.stringsOffset, 8));
add('opening', 'xattrs-size', 'xattrs_size is 2^32', (i) => i.u64(header.xattrsSize, 2 ** 32));
add('opening', 'strings-size', 'strings_size is 2^64 - 1', (i) => i.u64(header.stringsSize, 2n ** 64n - 1n));
add('opening', 'checks-offset', 'checks_offset is not where the strings end', (i) => i.u64(header.checksOffset, 3 * PAGE_SIZE));
add('opening', 'root-no-folder', 'node 0 is a regular file', (i) => i.u32(i.node(0) + field.mode, 0o100644));

addUnsealed('use', 'page-crc', 'a bit of the last page is flipped', (i) => i.u8(i.section(header.checksOffset) - PAGE_SIZE + 3, 0xaa), wide);
addUnsealed('use', 'page-check', 'a page check is changed', (i) => i.u32(i.section(header.checksOffset) + 8, 1), wide);
add('use', 'entry-node-outside', 'an entry names a node beyond the last', (i) => i.u32(i.entry(0) + ENTRY_NODE, 9));
add('use', 'entries-outside', "a folder's entries start beyond the section", (i) => i.u32(i.node(5) + field.data, 0xffff_fff0));
add('use', 'entries-too-many', "a folder's entries end beyond the section", (i) => i.u32(i.node(5) + field.entryCount, 100));
add('use', 'entries-overflow', 'first entry + count is above 2^32', (i) => i.u32(i.node(5) + field.data, 0xffff_ffff).u32(i.node(5) + field.entryCount, 2));
add('use', 'name-outside', 'a name lies beyond the strings', (i) => i.u32(i.entry(7) + NAME_OFFSET, 0xffff_ffff));
add('use', 'name-too-long', 'a name has 256 bytes', (i) => i.u16(i.entry(0) + NAME_LENGTH, 256), wide);
add('use', 'name-empty', 'a name is empty', (i) => i.u16(i.entry(0) + NAME_LENGTH, 0));
add('use', 'name-slash', 'a name holds a slash', (i) => i.u8(i.string(1), 0x2f));
add('use', 'name-nul', 'a name holds a NUL', (i) => i.u8(i.string(1), 0));
add('use', 'name-dot', 'a name is "."', (i) => i.u8(i.string(0), 0x2e).u16(i.entry(0) + NAME_LENGTH, 1));
add('use', 'name-dot-dot', 'a name is ".."', (i) => i.u16(i.string(0), 0x2e2e).u16(i.entry(0) + NAME_LENGTH, 2));
add('use', 'entry-type', "an entry's type differs from its node's", (i) => i.u8(i.entry(0) + ENTRY_TYPE, 10));
add('use', 'folder-in-itself', 'a folder is its own child', (i) => i.u32(i.entry(5) + ENTRY_NODE, 5));
add('use', 'folder-in-child', 'a folder is the child of its child', (i) => i.u32(i.entry(7) + ENTRY_NODE, 5).u8(i.entry(7) + ENTRY_TYPE, 4));
add('use', 'root-in-folder', 'the root is the child of a folder', (i) => i.u32(i.entry(7) + ENTRY_NODE, 0).u8(i.entry(7) + ENTRY_TYPE, 4));
add('use', 'root-in-root', 'the root is its own child', (i) => i.u32(i.entry(4) + ENTRY_NODE, 0));
add('use', 'object-outside', 'a file names an object beyond the last', (i) => i.u32(i.node(1) + field.data, 2));
add('use', 'target-outside', "a symlink's target lies beyond the strings", (i) => i.u32(i.node(3) + field.data, 40));
add('use', 'target-empty', "a symlink's target is empty", (i) => i.u64(i.node(3) + field.size, 0));
add('use', 'target-too-long', "a symlink's target has 4096 bytes", (i) => i.u64(i.node(3) + field.size, 4096));
add('use', 'xattrs-outside', 'an xattr set lies beyond the section', (i) => i.u32(i.node(4) + field.xattrs, 1001));
add('use', 'xattr-count', 'an xattr set holds more than the section', (i) => i.u32(i.xattr(44), 0xffff_ffff));
add('use', 'xattr-name-outside', "an xattr's name ends beyond the section", (i) => i.u16(i.xattr(48), 200));
add('use', 'xattr-value-outside', "an xattr's value ends beyond the section", (i) => i.u32(i.xattr(52), 0xffff_fff0));

add('full', 'mode-type', 'a node has no type', (i) => i.u32(i.node(7) + field.mode, 0o666).u8(i.entry(6) + ENTRY_TYPE, 0).u32(i.node(7) + field.rdev, 0));
add('full', 'mode-bits', 'a mode has bits above the type', (i) => i.u32(i.node(1) + field.mode, 0o1100644));
add('full', 'nanoseconds', 'an mtime has 10^9 nanoseconds', (i) => i.u32(i.node(1) + field.mtimeNanoseconds, 1_000_000_000));
add('full', 'rdev-of-file', 'a regular file has a device number', (i) => i.u32(i.node(1) + field.rdev, 1));
add('full', 'entries-of-file', 'a regular file has entries', (i) => i.u32(i.node(1) + field.entryCount, 1));
add('full', 'blocks-of-folder', 'a folder has blocks', (i) => i.u64(i.node(5) + field.blocks, 8));
add('full', 'blocks-no-page', 'blocks is no multiple of 8', (i) => i.u64(i.node(1) + field.blocks, 7));
add('full', 'blocks-too-many', 'a file has more blocks than its size takes', (i) => i.u64(i.node(1) + field.blocks, 16));
add('full', 'size-of-folder', 'a folder has a size', (i) => i.u64(i.node(5) + field.size, 4096));
add('full', 'size-differs', "a file's size is not that of its object", (i) => i.u64(i.node(1) + field.size, 7).u64(header.contentBytes, 9007));
add('full', 'size-without-object', 'a file without an object has a size', (i) => i.u64(i.node(4) + field.size, 1).u64(header.contentBytes, 9007));
add('full', 'data-of-device', 'a device has data', (i) => i.u32(i.node(7) + field.data, 1));
add('full', 'root-parent', 'the parent of the root is not 0', (i) => i.u32(i.node(0) + field.parent, 5));
add('full', 'parent-of-file', 'a file names another parent than the folder of its first name', (i) => i.u32(i.node(8) + field.parent, 0));
add('full', 'link-count', 'the link count of a file is wrong', (i) => i.u32(i.node(1) + field.nlink, 2));
add('full', 'link-count-of-folder', 'the link count of a folder is wrong', (i) => i.u32(i.node(5) + field.nlink, 2));
add('full', 'entry-reserved', 'a reserved field of an entry is not zero', (i) => i.u8(i.entry(0) + 7, 1));
add('full', 'entry-prefix', "an entry's prefix is not that of its name", (i) => i.u32(i.entry(7) + ENTRY_PREFIX, 0));
add('full', 'entries-unsorted', 'two entries stand in the wrong order', (i) => i.swap(i.entry(0), i.entry(1), 16));
add('full', 'name-twice', 'a folder holds one name twice', (i) => i.u32(i.entry(1) + NAME_OFFSET, 0).u16(i.entry(1) + NAME_LENGTH, 4).u32(i.entry(1) + ENTRY_PREFIX, 0x66696c65));
add('full', 'entries-overlap', 'the entries of two folders overlap', (i) => i.u32(i.node(6) + field.data, 6));
add('full', 'numbering', 'nodes are not numbered breadth-first', (i) =>
  i.swap(i.node(1), i.node(2), 64).u32(i.entry(0) + ENTRY_NODE, 2).u32(i.entry(1) + ENTRY_NODE, 1));
add('full', 'node-unreachable', 'a node has no name', (i) => i.u32(i.entry(7) + ENTRY_NODE, 1).u32(i.node(1) + field.nlink, 2));
add('full', 'folder-twice', 'a folder has two names', (i) => i.u32(i.entry(6) + ENTRY_NODE, 6).u8(i.entry(6) + ENTRY_TYPE, 4));
add('full', 'objects-unsorted', 'the objects are not sorted', (i) =>
  i.swap(i.object(0), i.object(1), 32).u32(i.node(1) + field.data, 1).u32(i.node(2) + field.data, 0));
add('full', 'object-twice', 'an object stands twice', (i) => i.bytes.copy(i.bytes, i.object(1), i.object(0), i.object(0) + 16));
add('full', 'object-reserved', 'a reserved field of an object is not zero', (i) => i.u32(i.object(0) + 20, 1));
add('full', 'object-empty', 'an object has no bytes', (i) =>
  i.u64(i.object(0) + 24, 0).u64(i.node(1) + field.size, 0).u64(i.node(1) + field.blocks, 0).u64(header.contentBytes, 9000));
add('full', 'object-unused', 'no file has an object', (i) =>
  i.u32(i.node(1) + field.data, NO_OBJECT).u64(i.node(1) + field.size, 0).u64(i.node(1) + field.blocks, 0).u64(header.contentBytes, 9000));
add('full', 'xattrs-unsorted', 'an xattr set is not sorted', (i) => i.u8(i.xattr(4 + 8 + 5), 0x62).u8(i.xattr(24 + 8 + 5), 0x61));
add('full', 'xattr-twice', 'an xattr set holds one name twice', (i) => i.u8(i.xattr(24 + 8 + 5), 0x61));
add('full', 'xattr-reserved', 'a reserved field of an xattr is not zero', (i) => i.u16(i.xattr(4 + 2), 1));
add('full', 'xattr-padding', 'the padding of an xattr is not zero', (i) => i.u8(i.xattr(4 + 19), 1));
add('full', 'xattr-set-empty', 'an xattr set is empty', (i) => i.u32(i.xattr(44), 0));
add('full', 'xattr-set-order', 'xattr sets are not in the order of their nodes', (i) => i.u32(i.node(2) + field.xattrs, 45).u32(i.node(4) + field.xattrs, 1));
add('full', 'xattr-set-twice', 'two xattr sets are equal', (i) => i.u8(i.xattr(24 + 8 + 6), 0x78), twoSets);
add('full', 'xattr-own', 'a tree holds trusted.templatefs.*', () => undefined, () => withXattr('trusted.templatefs.node'));
add('full', 'string-twice', 'one string stands twice', (i) => i.bytes.copy(i.bytes, i.string(39), i.string(0), i.string(4)) && i.u32(i.entry(7) + ENTRY_PREFIX, 0x66696c65));
add('full', 'string-unused', 'bytes of the strings are not used', (i) => i.u32(i.entry(7) + NAME_OFFSET, 0).u32(i.entry(7) + ENTRY_PREFIX, 0x66696c65));
add('full', 'target-nul', "a symlink's target holds a NUL", (i) => i.u8(i.string(14), 0));
add('full', 'content-bytes', 'content_bytes is not the sum of the sizes', (i) => i.u64(header.contentBytes, 9007));
add('full', 'regular-count', 'regular_count is not the number of files', (i) => i.u32(header.regularCount, 3));
add('full', 'padding', 'the padding between two sections is not zero', (i) => i.u8(i.section(header.stringsOffset) - 1, 1));
add('full', 'padding-end', 'the padding after the strings is not zero', (i) => i.u8(i.section(header.checksOffset) - 1, 1));
add('full', 'page-0-check', 'the check of page 0 is not zero', (i) => i.u32(i.section(header.checksOffset), 1));

function withXattr(name: string): Hierarchy {
  const tree = new Hierarchy();
  tree.setXattrs(tree.root, [{ name, value: Buffer.from('1') }]);
  return tree;
}

/** Two files whose sets differ in one byte: `x` and `y` at the end of the value. */
function twoSets(): Hierarchy {
  const tree = new Hierarchy();
  for (const value of ['x', 'y']) {
    const node = tree.addNode({ mode: 0o100644, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 });
    tree.setXattrs(node, [{ name: 'user.a', value: Buffer.from(value) }]);
    tree.setChild(tree.root, value, node);
  }
  return tree;
}

export const REFUSED: Readonly<Record<string, RefusedImage>> = refused;
