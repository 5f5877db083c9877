import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { AreaStreamReader, type AreaRecord } from '../../../src/store/area-stream.js';
import { ByteSource } from '../../../src/store/byte-source.js';

const text = (value: string): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(value.length);
  return Buffer.concat([length, Buffer.from(value, 'latin1')]);
};

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A regular file of 5000 bytes that is a link. */
function link(node: Buffer): Buffer {
  const fixed = Buffer.alloc(44);
  fixed.writeUInt32LE(0o100644, 0);
  fixed.writeBigUInt64LE(5000n, 36);
  return Buffer.concat([Buffer.from('E'), text('file'), fixed, text(''), Buffer.from([1, 0]), text('trusted.templatefs.node'), u32(node.length), node, u32(0)]);
}

function node(size: number, flags: number): Buffer {
  const value = Buffer.alloc(size);
  value.writeUInt8(1, 0);
  value.writeUInt8(1, 1);
  value.writeUInt16LE(flags, 2);
  value.writeBigUInt64LE(1n << 28n, 8);
  value.write('ab'.repeat(16), 24, 'hex');
  value.writeBigUInt64LE(5000n, 40);
  return value;
}

function first(record: Buffer): Promise<AreaRecord> {
  const numbers = Buffer.alloc(9);
  numbers.write('N');
  return new AreaStreamReader(new ByteSource(Readable.from([Buffer.concat([Buffer.from('tfsarea1'), numbers, record])]))).next();
}

test('links with and without the ctime of their merging', async () => {
  for (const [size, flags] of [[48, 0], [56, 8]] as const) {
    const record = await first(link(node(size, flags)));
    expect(record.kind === 'entry' && record.inode.node?.object).toEqual({ hash: 'ab'.repeat(16), variant: 0, bytes: 5000 });
  }
  for (const [size, flags] of [[48, 8], [56, 0]] as const) await expect(first(link(node(size, flags)))).rejects.toThrow('a node xattr is none');
});
