/** Sizes and offsets of docs/formats/tree-image.md, and nothing else. */
export const TREE_MAGIC = Buffer.from('TFSTREE\n', 'latin1');
export const TREE_VERSION = 1;
export const PAGE_SIZE = 4096;
export const HEADER_SIZE = 4096;
export const NODE_SIZE = 64;
export const ENTRY_SIZE = 16;
export const OBJECT_SIZE = 32;
export const CHECK_SIZE = 4;
export const SECTION_ALIGNMENT = 64;
export const MAX_NODES = 2 ** 28 - 1;
export const MAX_SECTION_BYTES = 2 ** 32 - 1;
export const NO_OBJECT = 0xffff_ffff;
export const MAX_TARGET_LENGTH = 4095;

export const HEADER_FIELDS = {
  version: 8,
  flags: 12,
  fileSize: 16,
  nodeCount: 24,
  entryCount: 28,
  objectCount: 32,
  reserved: 36,
  nodesOffset: 40,
  entriesOffset: 48,
  objectsOffset: 56,
  xattrsOffset: 64,
  xattrsSize: 72,
  stringsOffset: 80,
  stringsSize: 88,
  checksOffset: 96,
  contentBytes: 104,
  regularCount: 112,
  reservedEnd: 116,
  crc: 124,
  end: 128,
} as const;

export const NODE_FIELDS = {
  mode: 0,
  uid: 4,
  gid: 8,
  nlink: 12,
  mtimeSeconds: 16,
  mtimeNanoseconds: 24,
  rdev: 28,
  size: 32,
  data: 40,
  entryCount: 44,
  xattrs: 48,
  parent: 52,
  blocks: 56,
} as const;

export const ENTRY_FIELDS = { nameOffset: 0, nameLength: 4, type: 6, reserved: 7, node: 8, prefix: 12 } as const;

export const OBJECT_FIELDS = { hash: 0, variant: 16, reserved: 20, size: 24 } as const;

/** What the sections hold; everything else about their place follows from it. */
export interface SectionSizes {
  readonly nodeCount: number;
  readonly entryCount: number;
  readonly objectCount: number;
  readonly xattrsSize: number;
  readonly stringsSize: number;
}

export interface SectionOffsets {
  readonly nodesOffset: number;
  readonly entriesOffset: number;
  readonly objectsOffset: number;
  readonly xattrsOffset: number;
  readonly stringsOffset: number;
  readonly checksOffset: number;
  readonly fileSize: number;
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** The one place where each section may lie. */
export function sectionOffsets(sizes: SectionSizes): SectionOffsets {
  const nodesOffset = HEADER_SIZE;
  const entriesOffset = roundUp(nodesOffset + NODE_SIZE * sizes.nodeCount, SECTION_ALIGNMENT);
  const objectsOffset = roundUp(entriesOffset + ENTRY_SIZE * sizes.entryCount, SECTION_ALIGNMENT);
  const xattrsOffset = roundUp(objectsOffset + OBJECT_SIZE * sizes.objectCount, SECTION_ALIGNMENT);
  const stringsOffset = roundUp(xattrsOffset + sizes.xattrsSize, SECTION_ALIGNMENT);
  const checksOffset = roundUp(stringsOffset + sizes.stringsSize, PAGE_SIZE);
  const fileSize = checksOffset + (CHECK_SIZE * checksOffset) / PAGE_SIZE;
  return { nodesOffset, entriesOffset, objectsOffset, xattrsOffset, stringsOffset, checksOffset, fileSize };
}

/** The first four bytes of a name as a big-endian number, zero-filled. */
export function namePrefix(name: string): number {
  const byte = (at: number): number => (at < name.length ? name.charCodeAt(at) : 0);
  return ((byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)) >>> 0;
}
