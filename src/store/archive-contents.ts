import { TemplatefsError } from '../core/errors.js';
import { badMember } from './bad-archive.js';
import type { Hierarchy, NodeIndex } from './hierarchy.js';
import { SMALL_FILE_BYTES, type ObjectBatch } from './object-batch.js';
import { printableName } from './raw-names.js';
import type { TarMember } from './tar-member.js';
import type { TarReader } from './tar-reader.js';
import { dataBlocks } from './tar-sparse.js';

/** 1 TiB: a minute or so of hashing zeros. */
const DEFAULT_MAX_HOLE_BYTES = 2 ** 40;

export interface HoleBudget {
  bytes: number;
}

export function holeBudget(maxHoleBytes: number = DEFAULT_MAX_HOLE_BYTES): HoleBudget {
  return { bytes: maxHoleBytes };
}

export interface ContentLimits {
  readonly maxBytes?: number;
  readonly maxHoleBytes?: number;
  /** What is left of `maxHoleBytes`, when several archives share it. */
  readonly holeBudget?: HoleBudget;
  /** Throws when the import is to end. */
  readonly checkAbort: () => void;
}

/**
 * Hands the content of an archive's files to a batch. A file's node gets the ticket of its content in place of an
 * object; `finishImport` puts the object there.
 */
export class ArchiveContents {
  readonly #batch: ObjectBatch;
  readonly #hierarchy: Hierarchy;
  readonly #reader: TarReader;
  readonly #limits: ContentLimits;
  readonly #holes: HoleBudget;

  constructor(batch: ObjectBatch, hierarchy: Hierarchy, reader: TarReader, limits: ContentLimits) {
    this.#batch = batch;
    this.#hierarchy = hierarchy;
    this.#reader = reader;
    this.#limits = limits;
    this.#holes = limits.holeBudget ?? holeBudget(limits.maxHoleBytes);
  }

  /** Reads the current member's data into the batch. */
  async add(node: NodeIndex, member: TarMember): Promise<void> {
    const { size, segments } = member;
    const blocks = segments === undefined ? 8 * Math.ceil(size / 4096) : dataBlocks(segments);
    this.#hierarchy.setContent(node, size === 0 ? undefined : await this.#addContent(member), size, blocks);
  }

  async #addContent(member: TarMember): Promise<number> {
    const { size, segments } = member;
    const read = (target: Buffer): Promise<void> => this.#reader.readData(target);
    if (segments === undefined && size <= SMALL_FILE_BYTES) return this.#batch.addSmall(size, read);
    const dataBytes = segments === undefined ? size : segments.reduce((sum, { length }) => sum + length, 0);
    this.#takeHoles(member, size - dataBytes);
    this.#batch.expect(dataBytes);
    const stream = this.#batch.openStream();
    const readPiece = (target: Buffer): Promise<void> => {
      this.#limits.checkAbort();
      return read(target);
    };
    let end = 0;
    for (const { offset, length } of segments ?? [{ offset: 0, length: size }]) {
      await stream.hole(offset - end, this.#limits.checkAbort);
      await stream.data(length, readPiece);
      end = offset + length;
    }
    await stream.hole(size - end, this.#limits.checkAbort);
    return stream.end();
  }

  #takeHoles(member: TarMember, bytes: number): void {
    this.#holes.bytes -= bytes;
    if (this.#holes.bytes < 0) throw badMember(member, 'the holes of its sparse files are larger than the limit');
  }

  /** @param archiveBytes decompressed bytes read so far @throws NO_SPACE */
  checkSize(archiveBytes: number, member: TarMember): void {
    const { maxBytes } = this.#limits;
    if (maxBytes === undefined || archiveBytes <= maxBytes) return;
    throw new TemplatefsError('NO_SPACE', `the archive has more than ${maxBytes} bytes (at member ${JSON.stringify(printableName(member.path))})`, {
      hint: 'raise the limit if you trust the archive',
    });
  }
}
