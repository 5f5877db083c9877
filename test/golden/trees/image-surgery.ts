import { crc32 } from 'node:zlib';
import { encodeTree } from '../../../src/store/tree-writer.js';
import type { Hierarchy } from '../../../src/store/hierarchy.js';
import { ENTRY_SIZE, HEADER_FIELDS, HEADER_SIZE, NODE_SIZE, OBJECT_SIZE, PAGE_SIZE } from '../../../src/store/tree-format.js';

/** One tree image whose bytes can be changed; the checks are made right again unless a test wants them wrong. */
export class Surgery {
  bytes: Buffer;

  constructor(hierarchy: Hierarchy) {
    const blocks: Buffer[] = [];
    encodeTree(hierarchy, (block) => blocks.push(Buffer.from(block)));
    this.bytes = Buffer.concat(blocks);
  }

  /** Offset of a header field's section. */
  section(field: number): number {
    return Number(this.bytes.readBigUInt64LE(field));
  }

  node(number: number): number {
    return this.section(HEADER_FIELDS.nodesOffset) + number * NODE_SIZE;
  }

  entry(index: number): number {
    return this.section(HEADER_FIELDS.entriesOffset) + index * ENTRY_SIZE;
  }

  object(index: number): number {
    return this.section(HEADER_FIELDS.objectsOffset) + index * OBJECT_SIZE;
  }

  xattr(offset: number): number {
    return this.section(HEADER_FIELDS.xattrsOffset) + offset;
  }

  string(offset: number): number {
    return this.section(HEADER_FIELDS.stringsOffset) + offset;
  }

  u32(at: number, value: number): this {
    this.bytes.writeUInt32LE(value, at);
    return this;
  }

  u64(at: number, value: number | bigint): this {
    this.bytes.writeBigUInt64LE(BigInt(value), at);
    return this;
  }

  u8(at: number, value: number): this {
    this.bytes.writeUInt8(value, at);
    return this;
  }

  u16(at: number, value: number): this {
    this.bytes.writeUInt16LE(value, at);
    return this;
  }

  readU32(at: number): number {
    return this.bytes.readUInt32LE(at);
  }

  swap(a: number, b: number, length: number): this {
    const first = Buffer.from(this.bytes.subarray(a, a + length));
    this.bytes.copyWithin(a, b, b + length);
    first.copy(this.bytes, b);
    return this;
  }

  /** Makes the CRC of each page and of the header right. */
  seal(): this {
    const checks = this.section(HEADER_FIELDS.checksOffset);
    for (let page = 1; page < checks / PAGE_SIZE && checks + page * 4 + 4 <= this.bytes.length; page += 1) {
      this.u32(checks + page * 4, crc32(this.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)));
    }
    return this.sealHeader();
  }

  sealHeader(): this {
    this.u32(HEADER_FIELDS.crc, 0);
    return this.u32(HEADER_FIELDS.crc, crc32(this.bytes.subarray(0, HEADER_SIZE)));
  }
}
