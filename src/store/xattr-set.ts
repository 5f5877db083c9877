import type { RawName } from './raw-names.js';

/** One extended attribute with its full name (`security.capability`). */
export interface Xattr {
  readonly name: RawName;
  readonly value: Buffer;
}

/** Attributes of our own, which no tree and no container ever shows. */
export const OWN_XATTR_PREFIX = 'trusted.templatefs.';

const SET_HEADER = 4;
const XATTR_HEADER = 8;

/** Encodes a set as docs/formats/tree-image.md states it: sorted by name, zero-filled to a multiple of 4. */
export function encodeXattrSet(xattrs: readonly Xattr[]): Buffer {
  const sorted = xattrs.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const size = sorted.reduce((sum, xattr) => sum + padTo4(XATTR_HEADER + xattr.name.length + xattr.value.length), SET_HEADER);
  const set = Buffer.alloc(size);
  set.writeUInt32LE(sorted.length, 0);
  let at = SET_HEADER;
  for (const { name, value } of sorted) {
    set.writeUInt16LE(name.length, at);
    set.writeUInt32LE(value.length, at + 4);
    set.write(name, at + XATTR_HEADER, 'latin1');
    value.copy(set, at + XATTR_HEADER + name.length);
    at += padTo4(XATTR_HEADER + name.length + value.length);
  }
  return set;
}

/** A window on bytes that may not be all in memory: returns `length` bytes at `offset`, or throws. */
export type ReadBytes = (offset: number, length: number) => Buffer;

export interface DecodedXattrSet {
  readonly xattrs: Xattr[];
  /** Bytes that the set takes, padding included. */
  readonly length: number;
  /** Whether reserved fields and padding are zero, as they must be. */
  readonly clean: boolean;
}

/** Reads the set that starts at `offset`; `read` refuses what lies outside the section. */
export function decodeXattrSet(read: ReadBytes, offset: number): DecodedXattrSet {
  const count = read(offset, SET_HEADER).readUInt32LE(0);
  const xattrs: Xattr[] = [];
  let clean = true;
  let at = offset + SET_HEADER;
  for (let i = 0; i < count; i += 1) {
    const header = read(at, XATTR_HEADER);
    const nameLength = header.readUInt16LE(0);
    const valueLength = header.readUInt32LE(4);
    clean &&= header.readUInt16LE(2) === 0;
    const used = XATTR_HEADER + nameLength + valueLength;
    const whole = read(at, padTo4(used));
    clean &&= whole.subarray(used).every((byte) => byte === 0);
    xattrs.push({
      name: whole.toString('latin1', XATTR_HEADER, XATTR_HEADER + nameLength),
      // A copy: the page it came from may be dropped from the cache, and must not be kept alive by one value.
      value: Buffer.from(whole.subarray(XATTR_HEADER + nameLength, used)),
    });
    at += padTo4(used);
  }
  return { xattrs, length: at - offset, clean };
}

function padTo4(length: number): number {
  return Math.ceil(length / 4) * 4;
}
