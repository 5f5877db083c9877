import { crc32 } from 'node:zlib';
import {
  HEADER_FIELDS,
  HEADER_SIZE,
  MAX_NODES,
  MAX_SECTION_BYTES,
  sectionOffsets,
  TREE_MAGIC,
  TREE_VERSION,
  type SectionOffsets,
  type SectionSizes,
} from './tree-format.js';

/** What the header of a tree image says, once it has been checked. */
export interface TreeHeader extends SectionSizes, SectionOffsets {
  /** Bytes of the regular files, each inode once. */
  readonly contentBytes: bigint;
  /** Regular files, each inode once. */
  readonly regularCount: number;
}

/**
 * Reads the header.
 * @param bytes the first page of the file, or less when the file is shorter
 * @param size bytes of the whole file
 * @param refuse called with the rule that the header breaks
 */
export function readTreeHeader(bytes: Buffer, size: number, refuse: (rule: string) => never): TreeHeader {
  if (bytes.length < HEADER_SIZE) refuse('it is too short for a header');
  if (!bytes.subarray(0, TREE_MAGIC.length).equals(TREE_MAGIC)) refuse('it is no tree image');
  const u32 = (at: number): number => bytes.readUInt32LE(at);
  if (u32(HEADER_FIELDS.version) !== TREE_VERSION) refuse(`version ${u32(HEADER_FIELDS.version)} is not known`);
  if (u32(HEADER_FIELDS.flags) !== 0) refuse(`flags ${u32(HEADER_FIELDS.flags)} are not known`);
  const zeroed = Buffer.from(bytes);
  zeroed.writeUInt32LE(0, HEADER_FIELDS.crc);
  if (crc32(zeroed) !== u32(HEADER_FIELDS.crc)) refuse('the CRC of the header differs');
  const reserved = bytes.readBigUInt64LE(HEADER_FIELDS.reservedEnd);
  if (u32(HEADER_FIELDS.reserved) !== 0 || reserved !== 0n || bytes.subarray(HEADER_FIELDS.end).some((byte) => byte !== 0)) {
    refuse('reserved bytes of the header are not zero');
  }
  const u64 = (at: number, what: string, max: number): number => {
    const value = bytes.readBigUInt64LE(at);
    if (value > BigInt(max)) refuse(`${what} is out of range`);
    return Number(value);
  };
  const sizes = {
    nodeCount: u32(HEADER_FIELDS.nodeCount),
    entryCount: u32(HEADER_FIELDS.entryCount),
    objectCount: u32(HEADER_FIELDS.objectCount),
    xattrsSize: u64(HEADER_FIELDS.xattrsSize, 'xattrs_size', MAX_SECTION_BYTES),
    stringsSize: u64(HEADER_FIELDS.stringsSize, 'strings_size', MAX_SECTION_BYTES),
  };
  if (sizes.nodeCount === 0 || sizes.nodeCount > MAX_NODES) refuse('node_count is out of range');
  const offsets = sectionOffsets(sizes);
  const far = Number.MAX_SAFE_INTEGER;
  const stated: readonly (readonly [string, number, number])[] = [
    ['nodes_offset', HEADER_FIELDS.nodesOffset, offsets.nodesOffset],
    ['entries_offset', HEADER_FIELDS.entriesOffset, offsets.entriesOffset],
    ['objects_offset', HEADER_FIELDS.objectsOffset, offsets.objectsOffset],
    ['xattrs_offset', HEADER_FIELDS.xattrsOffset, offsets.xattrsOffset],
    ['strings_offset', HEADER_FIELDS.stringsOffset, offsets.stringsOffset],
    ['checks_offset', HEADER_FIELDS.checksOffset, offsets.checksOffset],
    ['file_size', HEADER_FIELDS.fileSize, offsets.fileSize],
  ];
  for (const [what, at, expected] of stated) {
    if (u64(at, what, far) !== expected) refuse(`${what} is not where the section must lie`);
  }
  if (size !== offsets.fileSize) refuse(`it has ${size} bytes, its header says ${offsets.fileSize}`);
  return {
    ...sizes,
    ...offsets,
    contentBytes: bytes.readBigUInt64LE(HEADER_FIELDS.contentBytes),
    regularCount: u32(HEADER_FIELDS.regularCount),
  };
}
