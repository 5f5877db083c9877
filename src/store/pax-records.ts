import type { RawName } from './raw-names.js';

/** What PAX headers say: the last value of each key, and the pairs of old sparse maps, whose keys repeat. */
export interface PaxRecords {
  readonly values: ReadonlyMap<RawName, Buffer>;
  /** GNU.sparse.offset and GNU.sparse.numbytes in their order (format 0.0). */
  readonly sparsePairs: readonly number[];
}

export const NO_RECORDS: PaxRecords = { values: new Map(), sparsePairs: [] };

/**
 * Reads the records of one PAX header: `LENGTH KEY=VALUE\n`, where LENGTH counts all of it. Values are bytes.
 * @param refuse called with what is wrong
 */
export function parsePaxRecords(bytes: Buffer, refuse: (rule: string) => never): PaxRecords {
  const values = new Map<RawName, Buffer>();
  const sparsePairs: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    // Some writers fill up with NULs.
    if (bytes[at] === 0) break;
    const space = bytes.indexOf(0x20, at);
    const digits = space === -1 || space - at > 10 ? '' : bytes.toString('latin1', at, space);
    const end = /^[0-9]+$/.test(digits) ? at + Number(digits) : 0;
    const equals = bytes.indexOf(0x3d, space + 1);
    if (end > bytes.length || equals === -1 || equals >= end || bytes[end - 1] !== 0x0a) refuse('a PAX record is broken');
    const key = bytes.toString('latin1', space + 1, equals);
    const value = Buffer.from(bytes.subarray(equals + 1, end - 1));
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      sparsePairs.push(parsePaxInteger(value) ?? refuse(`${key} is no number`));
    } else {
      values.set(key, value);
    }
    at = end;
  }
  return { values, sparsePairs };
}

/** Local records before global ones; an empty value takes a global one away. */
export function mergePaxRecords(global: PaxRecords, local: PaxRecords): PaxRecords {
  if (global.values.size === 0) return local;
  if (local.values.size === 0 && local.sparsePairs.length === 0) return global;
  return { values: new Map([...global.values, ...local.values]), sparsePairs: local.sparsePairs };
}

/** A decimal number without a fraction; undefined for anything else and beyond 2^53. */
export function parsePaxInteger(value: Buffer): number | undefined {
  const text = value.toString('latin1');
  if (!/^[0-9]{1,20}$/.test(text)) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

export interface PaxTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A decimal time, rounded down to nanoseconds: `-1.5` is second −2 and 500,000,000 ns. */
export function parsePaxTime(value: Buffer): PaxTime | undefined {
  const match = /^(-?)([0-9]{1,20})(?:\.([0-9]*))?$/.exec(value.toString('latin1'));
  if (match?.[2] === undefined) return undefined;
  const fraction = match[3] ?? '';
  let seconds = Number(match[2]);
  let nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (match[1] === '-') {
    if (/[1-9]/.test(fraction.slice(9))) nanoseconds += 1;
    seconds = -seconds;
    if (nanoseconds > 0) {
      seconds -= 1;
      nanoseconds = 1_000_000_000 - nanoseconds;
    }
  }
  // −0 would be another number to Object.is and in snapshots.
  return Number.isSafeInteger(seconds) ? { seconds: seconds + 0, nanoseconds } : undefined;
}
