import { parsePaxInteger, type PaxRecords } from './pax-records.js';
import { BLOCK_BYTES, parseTarNumber } from './tar-header.js';

/** Data of a sparse file; what lies between the segments are holes. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
}

const MAX_SEGMENTS = 2 ** 20;

type Refuse = (rule: string) => never;

/** Reads blocks of 512 bytes that belong to the member. */
export type ReadBlock = () => Promise<Buffer>;

/** The map of old GNU archives (type `S`): four segments in the header, 21 in each block that follows. */
export async function readOldGnuMap(header: Buffer, readBlock: ReadBlock, refuse: Refuse): Promise<{ segments: Segment[]; size: number }> {
  const numbers: number[] = [];
  const number = (block: Buffer, at: number): number => parseTarNumber(block.subarray(at, at + 12)) ?? refuse('its sparse map holds no numbers');
  const collect = (block: Buffer, from: number, count: number): void => {
    for (let at = from; at < from + count * 24 && block[at] !== 0; at += 24) numbers.push(number(block, at), number(block, at + 12));
  };
  const size = number(header, 483);
  collect(header, 386, 4);
  for (let more = header[482] !== 0; more; ) {
    const block = await readBlock();
    collect(block, 0, 21);
    more = block[504] !== 0;
    if (numbers.length > MAX_SEGMENTS * 2) refuse('its sparse map is too long');
  }
  return { segments: pairUp(numbers, refuse), size };
}

/** Whether the PAX records say that the member is sparse; its map may still stand in its data (`isMapInData`). */
export function isPaxSparse(records: PaxRecords): boolean {
  return ['GNU.sparse.major', 'GNU.sparse.map', 'GNU.sparse.size', 'GNU.sparse.numblocks'].some((key) => records.values.has(key));
}

/** Format 1.0. */
export function isMapInData(records: PaxRecords): boolean {
  return records.values.get('GNU.sparse.major')?.toString() === '1' && records.values.get('GNU.sparse.minor')?.toString() === '0';
}

/** The size with the holes. */
export function paxSparseSize(records: PaxRecords, refuse: Refuse): number {
  const value = records.values.get('GNU.sparse.realsize') ?? records.values.get('GNU.sparse.size');
  return (value === undefined ? undefined : parsePaxInteger(value)) ?? refuse('its sparse size is missing or no number');
}

/** The map of formats 0.0 (a record for each number) and 0.1 (one record with all of them). */
export function paxHeaderMap(records: PaxRecords, refuse: Refuse): Segment[] {
  const map = records.values.get('GNU.sparse.map');
  if (map === undefined) return pairUp(records.sparsePairs, refuse);
  const text = map.toString('latin1');
  const numbers = text === '' ? [] : text.split(',').map((part) => parsePaxInteger(Buffer.from(part, 'latin1')) ?? refuse('its sparse map holds no numbers'));
  return pairUp(numbers, refuse);
}

/**
 * The map of format 1.0: decimal numbers, each with a newline, filled up to whole blocks at the start of the data.
 * @returns the segments, and the bytes of data that the map took
 */
export async function readMapInData(readBlock: ReadBlock, refuse: Refuse): Promise<{ segments: Segment[]; mapBytes: number }> {
  let block = '';
  let at = 0;
  let mapBytes = 0;
  const nextNumber = async (): Promise<number> => {
    let digits = '';
    for (;;) {
      if (at === block.length) {
        block = (await readBlock()).toString('latin1');
        mapBytes += BLOCK_BYTES;
        at = 0;
      }
      const character = block[at] ?? '';
      at += 1;
      if (character === '\n') return parsePaxInteger(Buffer.from(digits, 'latin1')) ?? refuse('its sparse map holds no numbers');
      digits += character;
      if (digits.length > 20) refuse('its sparse map holds no numbers');
    }
  };
  const count = await nextNumber();
  if (count > MAX_SEGMENTS) refuse('its sparse map is too long');
  const numbers: number[] = [];
  while (numbers.length < count * 2) numbers.push(await nextNumber());
  return { segments: pairUp(numbers, refuse), mapBytes };
}

function pairUp(numbers: readonly number[], refuse: Refuse): Segment[] {
  if (numbers.length % 2 !== 0) refuse('its sparse map ends in half a segment');
  const segments: Segment[] = [];
  for (let i = 0; i < numbers.length; i += 2) segments.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0 });
  return segments;
}

/** Segments in order, without empty ones, inside the file, and just as many bytes as the archive holds. */
export function checkSegments(segments: readonly Segment[], size: number, storedBytes: number, refuse: Refuse): Segment[] {
  let end = 0;
  let sum = 0;
  for (const { offset, length } of segments) {
    if (offset < end || offset + length > size) refuse('the segments of its sparse map overlap or leave the file');
    end = offset + length;
    sum += length;
  }
  if (sum !== storedBytes) refuse(`its sparse map has ${sum} bytes of data, the archive ${storedBytes}`);
  return segments.filter(({ length }) => length > 0);
}

/** 512-byte blocks that hold data: 8 for each 4 KiB page that a segment touches. */
export function dataBlocks(segments: readonly Segment[]): number {
  let pages = 0;
  let next = 0;
  for (const { offset, length } of segments) {
    const first = Math.max(next, Math.floor(offset / 4096));
    next = Math.ceil((offset + length) / 4096);
    pages += Math.max(0, next - first);
  }
  return pages * 8;
}
