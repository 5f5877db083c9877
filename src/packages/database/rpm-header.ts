import type { InstalledPackage } from '../package-manager.js';

/*
 * The header of an installed package as rpm keeps it (rpm's docs/manual/format_header.md): two big-endian counts, index entries
 * of 16 bytes, then their data. Everything is checked against its bounds; a header that breaks them is none.
 */

const TAG = { name: 1000, version: 1001, release: 1002, epoch: 1003, architecture: 1022, directoryIndexes: 1116, baseNames: 1117, directoryNames: 1118 } as const;
const INT32 = 4;
const STRING = 6;
const STRING_ARRAY = 8;
const ENTRY_BYTES = 16;
const MOST_ENTRIES = 1 << 16;
const MOST_VALUES = 1 << 24;
const TEXT = /^[0-9A-Za-z._+:~^()-]{1,255}$/;

interface Entry {
  readonly type: number;
  readonly offset: number;
  readonly count: number;
}

export class RpmHeader {
  readonly #data: Buffer;
  readonly #entries = new Map<number, Entry>();

  private constructor(blob: Buffer, entries: number, dataBytes: number) {
    const dataAt = 8 + entries * ENTRY_BYTES;
    this.#data = blob.subarray(dataAt, dataAt + dataBytes);
    for (let at = 8; at < dataAt; at += ENTRY_BYTES) {
      this.#entries.set(blob.readInt32BE(at), { type: blob.readUInt32BE(at + 4), offset: blob.readUInt32BE(at + 8), count: blob.readUInt32BE(at + 12) });
    }
  }

  static parse(blob: Buffer): RpmHeader | undefined {
    if (blob.length < 8) return undefined;
    const [entries, dataBytes] = [blob.readUInt32BE(0), blob.readUInt32BE(4)];
    if (entries > MOST_ENTRIES || 8 + entries * ENTRY_BYTES + dataBytes > blob.length) return undefined;
    return new RpmHeader(blob, entries, dataBytes);
  }

  /** undefined for keys that were imported, and whatever else is no package. */
  package(): InstalledPackage | undefined {
    const [name, version, release, architecture] = [TAG.name, TAG.version, TAG.release, TAG.architecture].map((tag) => this.#strings(tag)[0] ?? '');
    if (![name, version, release, architecture].every((text) => text !== undefined && TEXT.test(text)) || name === undefined) return undefined;
    const epoch = this.#numbers(TAG.epoch)[0] ?? 0;
    return { name, version: `${epoch === 0 ? '' : `${epoch}:`}${version ?? ''}-${release ?? ''}`, architecture: architecture ?? '' };
  }

  files(): string[] {
    const folders = this.#strings(TAG.directoryNames);
    const indexes = this.#numbers(TAG.directoryIndexes);
    return this.#strings(TAG.baseNames).flatMap((name, at) => {
      const folder = folders[indexes[at] ?? -1];
      return folder === undefined ? [] : [`${folder}${name}`.replace(/(?<=.)\/$/, '')];
    });
  }

  #strings(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined || (entry.type !== STRING && entry.type !== STRING_ARRAY) || entry.count > MOST_VALUES) return [];
    const found: string[] = [];
    for (let at = entry.offset; found.length < (entry.type === STRING ? 1 : entry.count); ) {
      const end = at < this.#data.length ? this.#data.indexOf(0, at) : -1;
      if (end < 0) break;
      found.push(this.#data.toString('latin1', at, end));
      at = end + 1;
    }
    return found;
  }

  #numbers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (entry?.type !== INT32 || entry.offset + entry.count * 4 > this.#data.length) return [];
    return Array.from({ length: entry.count }, (_, index) => this.#data.readUInt32BE(entry.offset + index * 4));
  }
}
