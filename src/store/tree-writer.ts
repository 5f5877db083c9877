import { crc32 } from 'node:zlib';
import type { Hierarchy } from './hierarchy.js';
import { ImageOutput } from './image-output.js';
import { entryType, isDevice, isFolder, isRegular, isSymlink } from './inode-types.js';
import {
  ENTRY_FIELDS,
  ENTRY_SIZE,
  HEADER_FIELDS,
  HEADER_SIZE,
  namePrefix,
  NODE_FIELDS,
  NODE_SIZE,
  OBJECT_FIELDS,
  OBJECT_SIZE,
  sectionOffsets,
  TREE_MAGIC,
  TREE_VERSION,
  type SectionOffsets,
} from './tree-format.js';
import { planTree, type TreePlan } from './tree-plan.js';

/** What the header of an encoded tree says. */
export interface EncodedTree {
  /** SHA-256 of the image in lower-case hex: its name in the store. */
  readonly digest: string;
  /** Bytes of the image. */
  readonly fileSize: number;
  readonly nodeCount: number;
  readonly entryCount: number;
  readonly objectCount: number;
  /** Bytes of the regular files, each inode once. */
  readonly contentBytes: number;
  /** Regular files, each inode once. */
  readonly regularCount: number;
}

/**
 * Encodes a hierarchy as docs/formats/tree-image.md states. The same hierarchy always gives the same bytes, in
 * whatever order it was put together. Nodes without a name and objects without a file are left out.
 * @param write takes the image block by block; each block is only valid during the call
 */
export function encodeTree(hierarchy: Hierarchy, write: (block: Buffer) => void): EncodedTree {
  const plan = planTree(hierarchy);
  const offsets = sectionOffsets({
    nodeCount: plan.nodes.length,
    entryCount: plan.entryNames.length,
    objectCount: plan.objects.length,
    xattrsSize: plan.xattrsSize,
    stringsSize: plan.stringsSize,
  });
  const output = new ImageOutput(write);
  output.bytes(header(plan, offsets));
  writeNodes(output, hierarchy, plan);
  output.padTo(offsets.entriesOffset);
  writeEntries(output, hierarchy, plan);
  output.padTo(offsets.objectsOffset);
  writeObjects(output, hierarchy, plan);
  output.padTo(offsets.xattrsOffset);
  for (const set of plan.xattrSets) output.bytes(hierarchy.xattrSetBytes(set));
  output.padTo(offsets.stringsOffset);
  for (const text of plan.strings) output.raw(text);
  output.padTo(offsets.checksOffset);
  return {
    digest: output.finish(),
    fileSize: offsets.fileSize,
    nodeCount: plan.nodes.length,
    entryCount: plan.entryNames.length,
    objectCount: plan.objects.length,
    contentBytes: plan.contentBytes,
    regularCount: plan.regularCount,
  };
}

function header(plan: TreePlan, offsets: SectionOffsets): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE);
  TREE_MAGIC.copy(bytes);
  const u32 = (at: number, value: number): unknown => bytes.writeUInt32LE(value, at);
  const u64 = (at: number, value: number): unknown => bytes.writeBigUInt64LE(BigInt(value), at);
  u32(HEADER_FIELDS.version, TREE_VERSION);
  u64(HEADER_FIELDS.fileSize, offsets.fileSize);
  u32(HEADER_FIELDS.nodeCount, plan.nodes.length);
  u32(HEADER_FIELDS.entryCount, plan.entryNames.length);
  u32(HEADER_FIELDS.objectCount, plan.objects.length);
  u64(HEADER_FIELDS.nodesOffset, offsets.nodesOffset);
  u64(HEADER_FIELDS.entriesOffset, offsets.entriesOffset);
  u64(HEADER_FIELDS.objectsOffset, offsets.objectsOffset);
  u64(HEADER_FIELDS.xattrsOffset, offsets.xattrsOffset);
  u64(HEADER_FIELDS.xattrsSize, plan.xattrsSize);
  u64(HEADER_FIELDS.stringsOffset, offsets.stringsOffset);
  u64(HEADER_FIELDS.stringsSize, plan.stringsSize);
  u64(HEADER_FIELDS.checksOffset, offsets.checksOffset);
  u64(HEADER_FIELDS.contentBytes, plan.contentBytes);
  u32(HEADER_FIELDS.regularCount, plan.regularCount);
  u32(HEADER_FIELDS.crc, crc32(bytes));
  return bytes;
}

function writeNodes(output: ImageOutput, hierarchy: Hierarchy, plan: TreePlan): void {
  for (const [number, source] of plan.nodes.entries()) {
    const metadata = hierarchy.metadata(source);
    const { mode } = metadata;
    const { bytes, at } = output.record(NODE_SIZE);
    bytes.writeUInt32LE(mode, at + NODE_FIELDS.mode);
    bytes.writeUInt32LE(metadata.uid, at + NODE_FIELDS.uid);
    bytes.writeUInt32LE(metadata.gid, at + NODE_FIELDS.gid);
    bytes.writeUInt32LE(plan.linkCounts[number] ?? 0, at + NODE_FIELDS.nlink);
    bytes.writeBigInt64LE(BigInt(metadata.mtimeSeconds), at + NODE_FIELDS.mtimeSeconds);
    bytes.writeUInt32LE(metadata.mtimeNanoseconds, at + NODE_FIELDS.mtimeNanoseconds);
    if (isDevice(mode)) bytes.writeUInt32LE(metadata.rdev, at + NODE_FIELDS.rdev);
    if (isRegular(mode)) {
      writeU64(bytes, hierarchy.size(source), at + NODE_FIELDS.size);
      writeU64(bytes, hierarchy.blocks(source), at + NODE_FIELDS.blocks);
    } else if (isSymlink(mode)) {
      bytes.writeUInt32LE(hierarchy.target(source)?.length ?? 0, at + NODE_FIELDS.size);
    } else if (isFolder(mode)) {
      bytes.writeUInt32LE(hierarchy.children(source).size, at + NODE_FIELDS.entryCount);
    }
    bytes.writeUInt32LE(plan.data[number] ?? 0, at + NODE_FIELDS.data);
    bytes.writeUInt32LE(plan.xattrs[number] ?? 0, at + NODE_FIELDS.xattrs);
    bytes.writeUInt32LE(plan.parents[number] ?? 0, at + NODE_FIELDS.parent);
  }
}

/** Without a BigInt, of which a large tree would need millions. */
function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

function writeEntries(output: ImageOutput, hierarchy: Hierarchy, plan: TreePlan): void {
  for (const [entry, name] of plan.entryNames.entries()) {
    const node = plan.entryNodes[entry] ?? 0;
    const { bytes, at } = output.record(ENTRY_SIZE);
    bytes.writeUInt32LE(plan.entryNameOffsets[entry] ?? 0, at + ENTRY_FIELDS.nameOffset);
    bytes.writeUInt16LE(name.length, at + ENTRY_FIELDS.nameLength);
    bytes.writeUInt8(entryType(hierarchy.mode(plan.nodes[node] ?? 0)), at + ENTRY_FIELDS.type);
    bytes.writeUInt32LE(node, at + ENTRY_FIELDS.node);
    bytes.writeUInt32LE(namePrefix(name), at + ENTRY_FIELDS.prefix);
  }
}

function writeObjects(output: ImageOutput, hierarchy: Hierarchy, plan: TreePlan): void {
  for (const index of plan.objects) {
    const object = hierarchy.objects[index];
    if (object === undefined) throw new Error(`no object ${index}`);
    const { bytes, at } = output.record(OBJECT_SIZE);
    bytes.write(object.hash, at + OBJECT_FIELDS.hash, 'hex');
    bytes.writeUInt32LE(object.variant, at + OBJECT_FIELDS.variant);
    writeU64(bytes, object.size, at + OBJECT_FIELDS.size);
  }
}
