import type { RawName } from './raw-names.js';

export const BLOCK_BYTES = 512;

/** One header block, its numbers read and nothing else done. */
export interface TarHeader {
  /** With the prefix of ustar in front. */
  readonly name: RawName;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly type: string;
  readonly linkName: RawName;
  readonly major: number;
  readonly minor: number;
  /** The block, for what only some types have (old GNU sparse maps). Valid until the next block is read. */
  readonly block: Buffer;
}

/** Whether the block's checksum is right; sums of signed bytes, which old tars wrote, count too. */
export function isHeaderBlock(block: Buffer): boolean {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK_BYTES; i += 1) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
    unsigned += byte;
    signed += byte < 128 ? byte : byte - 256;
  }
  const stored = parseTarNumber(block.subarray(148, 156));
  return stored !== undefined && (stored === unsigned || stored === signed);
}

export function isZeroBlock(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/**
 * Reads a header block whose checksum is right.
 * @param refuse called with the field that is no number
 */
export function parseTarHeader(block: Buffer, refuse: (rule: string) => never): TarHeader {
  const number = (from: number, length: number, what: string): number =>
    parseTarNumber(block.subarray(from, from + length)) ?? refuse(`its ${what} is no number`);
  const type = String.fromCharCode(block[156] ?? 0);
  const isDevice = type === '3' || type === '4';
  return {
    name: fullName(block),
    mode: number(100, 8, 'mode'),
    uid: number(108, 8, 'uid'),
    gid: number(116, 8, 'gid'),
    size: number(124, 12, 'size'),
    mtime: number(136, 12, 'mtime'),
    type,
    linkName: text(block, 157, 100),
    // Old archives leave rubbish here for all other types.
    major: isDevice ? number(329, 8, 'device number') : 0,
    minor: isDevice ? number(337, 8, 'device number') : 0,
    block,
  };
}

/** ustar splits long names into prefix and name; GNU's variant keeps other things where the prefix would be. */
function fullName(block: Buffer): RawName {
  const name = text(block, 0, 100);
  if (block.toString('latin1', 257, 263) !== 'ustar\0') return name;
  // star's xustar has its times in the last bytes of the prefix, and says so at the end of the block.
  const prefix = text(block, 345, block.toString('latin1', 508, 512) === 'tar\0' ? 131 : 155);
  return prefix === '' ? name : `${prefix}/${name}`;
}

function text(block: Buffer, from: number, length: number): RawName {
  const end = block.indexOf(0, from);
  return block.toString('latin1', from, end === -1 || end > from + length ? from + length : end);
}

/**
 * A number of a header: octal digits between spaces and NULs, or, with the first bit set, base 256 in two's complement.
 * An empty field is 0. Undefined for anything else and beyond 2^53.
 */
export function parseTarNumber(field: Buffer): number | undefined {
  const first = field[0] ?? 0;
  if ((first & 0x80) !== 0) return parseBase256(field);
  const text = field.toString('latin1');
  // After the terminator some tars leave rubbish.
  const digits = /^[ \0]*([0-7]+)(?:[ \0]|$)/.exec(text)?.[1];
  if (digits === undefined) return /^[ \0]*$/.test(text) ? 0 : undefined;
  const value = Number.parseInt(digits, 8);
  return Number.isSafeInteger(value) ? value : undefined;
}

function parseBase256(field: Buffer): number | undefined {
  const bits = BigInt(field.length * 8 - 1);
  const value = BigInt.asIntN(Number(bits), BigInt(`0x${field.toString('hex')}`));
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
