import { badArchive, badMember } from './bad-archive.js';
import type { ByteSource } from './byte-source.js';
import { mergePaxRecords, NO_RECORDS, parsePaxRecords, type PaxRecords } from './pax-records.js';
import type { RawName } from './raw-names.js';
import { BLOCK_BYTES, isHeaderBlock, isZeroBlock, parseTarHeader, type TarHeader } from './tar-header.js';
import { buildMember, hasData, memberPath, storedSize, type MemberExtras, type TarMember } from './tar-member.js';
import { checkSegments, isMapInData, isPaxSparse, paxHeaderMap, paxSparseSize, readMapInData, readOldGnuMap } from './tar-sparse.js';
import type { XattrLimits } from './tar-xattrs.js';

const MAX_PAX_BYTES = 2 ** 20;
const MAX_LONG_NAME_BYTES = 2 ** 16;

/**
 * Reads tar archives of all formats that are in use: v7, ustar, GNU, PAX, star. Names, link targets and xattrs are
 * bytes, as they are in the archive. Whatever is broken throws BAD_ARCHIVE.
 */
export class TarReader {
  readonly #source: ByteSource;
  readonly #limits: XattrLimits;
  #global: PaxRecords = NO_RECORDS;
  /** Data of the current member that was not read yet, and the padding behind it. */
  #dataLeft = 0;
  #padding = 0;
  #current = { path: '', offset: 0 };
  /** A block that was read to see what comes, and is still to be used. */
  #peeked: Buffer | undefined;
  #started = false;

  constructor(source: ByteSource, limits: XattrLimits) {
    this.#source = source;
    this.#limits = limits;
  }

  /** The next member, or undefined at the end of the archive. What is left of the current one's data is skipped. */
  async next(): Promise<TarMember | undefined> {
    await this.#skipRest();
    let local: PaxRecords = NO_RECORDS;
    let longName: RawName | undefined;
    let longLink: RawName | undefined;
    let offset: number | undefined;
    for (;;) {
      const at = this.#offset;
      const header = await this.#header(offset !== undefined);
      if (header === undefined) return undefined;
      offset ??= at;
      switch (header.type) {
        case 'x':
        case 'X':
          local = await this.#records(header, at);
          break;
        case 'g':
          this.#global = mergePaxRecords(this.#global, await this.#records(header, at));
          if (local === NO_RECORDS && longName === undefined && longLink === undefined) offset = undefined;
          break;
        case 'L':
          longName = await this.#longName(header, at);
          break;
        case 'K':
          longLink = await this.#longName(header, at);
          break;
        case 'V':
          await this.#skipData(header.size);
          offset = undefined;
          break;
        default:
          return this.#member(header, { offset, records: mergePaxRecords(this.#global, local), longName, longLink });
      }
    }
  }

  /** Fills `target` with the next bytes of the member's data (of a sparse member: of its segments). */
  async readData(target: Buffer): Promise<void> {
    if (target.length > this.#dataLeft) throw new Error('more data asked for than the member has');
    const filled = this.#source.fill(target);
    const count = typeof filled === 'number' ? filled : await filled;
    if (count < target.length) throw this.#cutShort();
    this.#dataLeft -= count;
  }

  get #offset(): number {
    return this.#source.offset - (this.#peeked === undefined ? 0 : BLOCK_BYTES);
  }

  /** @param inMember whether headers of a member were read already, so that the archive must not end here */
  async #header(inMember: boolean): Promise<TarHeader | undefined> {
    const at = this.#offset;
    const block = await this.#block();
    const first = !this.#started;
    this.#started = true;
    if (block.length === 0 || (block.length === BLOCK_BYTES && isZeroBlock(block))) {
      if (first && block.length === 0) throw badArchive('it is empty', 0);
      if (inMember) throw badArchive('it ends before the member that its last header belongs to', at);
      if (block.length > 0) await this.#checkEnd();
      return undefined;
    }
    if (block.length < BLOCK_BYTES) throw badArchive('it is cut short in a header', at);
    if (!isHeaderBlock(block)) throw badArchive(first ? 'this is no tar archive' : 'the checksum of a header is wrong', at);
    return parseTarHeader(block, (rule) => {
      throw badArchive(`a header is broken: ${rule}`, at);
    });
  }

  /** Two zero blocks end an archive; one at the end of the stream, or none, is accepted as GNU tar does. */
  async #checkEnd(): Promise<void> {
    const at = this.#source.offset;
    const block = await this.#block();
    if (block.length === BLOCK_BYTES && !isZeroBlock(block)) throw badArchive('a single zero block stands between members', at);
  }

  async #block(): Promise<Buffer> {
    const peeked = this.#peeked;
    this.#peeked = undefined;
    return peeked ?? (await this.#source.take(BLOCK_BYTES));
  }

  async #member(header: TarHeader, extras: MemberExtras): Promise<TarMember> {
    this.#current = { path: memberPath(header, extras), offset: extras.offset };
    const refuse = (rule: string): never => {
      throw badMember(this.#current, rule);
    };
    const stored = storedSize(header, extras);
    if (stored < 0) refuse('its size is negative');
    if (header.type === '1' && stored > 0) await this.#skipLinkData(stored);
    if (!hasData(header, extras)) return buildMember(header, extras, { size: 0, segments: undefined }, this.#limits);
    if (header.type === 'D') {
      this.#expectData(stored);
      return buildMember(header, extras, { size: 0, segments: undefined }, this.#limits);
    }
    const content = await this.#content(header, extras, stored, refuse);
    return buildMember(header, extras, content, this.#limits);
  }

  async #content(
    header: TarHeader,
    extras: MemberExtras,
    stored: number,
    refuse: (rule: string) => never,
  ): Promise<Pick<TarMember, 'size' | 'segments'>> {
    if (header.type === 'S') {
      // The block is copied: the source may use its memory again for the next one.
      const map = await readOldGnuMap(Buffer.from(header.block), () => this.#wholeBlock(), refuse);
      this.#expectData(stored);
      return { size: map.size, segments: checkSegments(map.segments, map.size, stored, refuse) };
    }
    this.#expectData(stored);
    if (!isPaxSparse(extras.records)) return { size: stored, segments: undefined };
    const size = paxSparseSize(extras.records, refuse);
    if (!isMapInData(extras.records)) {
      return { size, segments: checkSegments(paxHeaderMap(extras.records, refuse), size, stored, refuse) };
    }
    const { segments, mapBytes } = await readMapInData(async () => {
      if (this.#dataLeft < BLOCK_BYTES) refuse('its sparse map does not end');
      this.#dataLeft -= BLOCK_BYTES;
      return this.#wholeBlock();
    }, refuse);
    return { size, segments: checkSegments(segments, size, stored - mapBytes, refuse) };
  }

  #expectData(bytes: number): void {
    this.#dataLeft = bytes;
    this.#padding = paddingOf(bytes);
  }

  async #wholeBlock(): Promise<Buffer> {
    const block = await this.#source.take(BLOCK_BYTES);
    if (block.length < BLOCK_BYTES) throw this.#cutShort();
    return block;
  }

  /**
   * Some archives give a hard link the size of its file and no data, others (PAX with linkdata) repeat the data. What
   * follows tells: a header, the end, or data. The data is that of the file linked to, so it is passed over.
   */
  async #skipLinkData(bytes: number): Promise<void> {
    const block = Buffer.from(await this.#source.take(BLOCK_BYTES));
    if (block.length < BLOCK_BYTES || isZeroBlock(block) || isHeaderBlock(block)) {
      this.#peeked = block;
      return;
    }
    const left = bytes + paddingOf(bytes) - BLOCK_BYTES;
    if ((await this.#source.skip(left)) < left) throw this.#cutShort();
  }

  async #skipRest(): Promise<void> {
    const left = this.#dataLeft + this.#padding;
    this.#dataLeft = 0;
    this.#padding = 0;
    if (left > 0 && (await this.#source.skip(left)) < left) throw this.#cutShort();
  }

  async #skipData(bytes: number): Promise<void> {
    this.#expectData(bytes);
    await this.#skipRest();
  }

  async #records(header: TarHeader, offset: number): Promise<PaxRecords> {
    const bytes = await this.#extraData(header, MAX_PAX_BYTES, offset);
    return parsePaxRecords(bytes, (rule) => {
      throw badArchive(rule, offset);
    });
  }

  async #longName(header: TarHeader, offset: number): Promise<RawName> {
    const bytes = await this.#extraData(header, MAX_LONG_NAME_BYTES, offset);
    const end = bytes.indexOf(0);
    return bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
  }

  async #extraData(header: TarHeader, maxBytes: number, offset: number): Promise<Buffer> {
    const { size } = header;
    if (size < 0 || size > maxBytes) throw badArchive(`a header of type ${header.type} has ${size} bytes, more than ${maxBytes}`, offset);
    const bytes = Buffer.from(await this.#source.take(size));
    const padding = paddingOf(size);
    if (bytes.length < size || (await this.#source.skip(padding)) < padding) throw badArchive('it is cut short in a header', offset);
    return bytes;
  }

  #cutShort(): Error {
    return badMember(this.#current, `the archive is cut short in its data, at byte ${this.#source.offset}`);
  }
}

function paddingOf(bytes: number): number {
  return (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES;
}
