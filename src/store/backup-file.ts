import { createHash, type Hash } from 'node:crypto';
import { closeSync, createReadStream, openSync, rmSync, writeSync } from 'node:fs';
import { TemplatefsError, diskError } from '../core/errors.js';
import { ByteSource } from './byte-source.js';
import { beginDraft, publishDraft } from './draft-file.js';

/*
 * The outer form of a backup: docs/formats/backup.md. Sections of pieces, so that it can be written and read as a stream, and a
 * SHA-256 of everything at the end.
 */

const MAGIC = Buffer.from('templatefs-backup 1\n', 'latin1');
const MAX_PIECE_BYTES = 1 << 20;
const SUM_BYTES = 32;

/** In this order. */
export const SECTIONS = ['HEAD', 'AREA', 'TREE', 'OBJS', 'DATA'] as const;
export type Section = (typeof SECTIONS)[number];

/** Writes a backup beside its name; `finish` gives it the name, when it is durable. */
export class BackupWriter {
  readonly #path: string;
  readonly #draft: string;
  readonly #fd: number;
  readonly #sum: Hash = createHash('sha256');
  readonly #pending = Buffer.alloc(MAX_PIECE_BYTES);
  #used = 0;
  #written = 0;

  /** @throws FAILED */
  constructor(path: string) {
    this.#path = path;
    this.#draft = beginDraft(path);
    try {
      this.#fd = openSync(this.#draft, 'wx', 0o600);
    } catch (cause) {
      throw new TemplatefsError('FAILED', `cannot make ${this.#draft}: ${cause instanceof Error ? cause.message : String(cause)}`, { hint: 'name a file in a folder that is there', cause });
    }
    this.#write(MAGIC);
  }

  get bytes(): number {
    return this.#written;
  }

  /** Where it is until it has its name. */
  get draft(): string {
    return this.#draft;
  }

  begin(section: Section): void {
    this.#write(Buffer.from(section, 'latin1'));
  }

  /** Adds bytes to the section; pieces of the file are as long as they can be, so that equal sections are equal bytes. */
  add(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const count = bytes.copy(this.#pending, this.#used, at);
      this.#used += count;
      at += count;
      if (this.#used === MAX_PIECE_BYTES) this.#flush();
    }
  }

  end(): void {
    this.#flush();
    this.#write(Buffer.alloc(4));
  }

  finish(): void {
    this.#put(this.#sum.digest());
    closeSync(this.#fd);
    publishDraft(this.#draft, this.#path);
  }

  abandon(): void {
    try {
      closeSync(this.#fd);
    } catch {
      // It was closed before it got its name.
    }
    rmSync(this.#draft, { force: true });
  }

  #flush(): void {
    if (this.#used === 0) return;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(this.#used);
    this.#write(length);
    this.#write(this.#pending.subarray(0, this.#used));
    this.#used = 0;
  }

  #write(bytes: Buffer): void {
    this.#sum.update(bytes);
    this.#put(bytes);
  }

  #put(bytes: Buffer): void {
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (error) {
      throw diskError(error);
    }
    this.#written += bytes.length;
  }
}

/** Reads a backup once, from its beginning to its end; each section's pieces must be read before the next section. */
export class BackupReader {
  readonly #path: string;
  readonly #source: ByteSource;
  readonly #sum: Hash = createHash('sha256');
  #next = 0;

  constructor(path: string) {
    this.#path = path;
    this.#source = new ByteSource(createReadStream(path, { highWaterMark: MAX_PIECE_BYTES }));
  }

  /** @throws INTEGRITY */
  async section(name: Section): Promise<AsyncGenerator<Buffer, void>> {
    if (this.#next === 0 && !(await this.#take(MAGIC.length)).equals(MAGIC)) throw this.refuse('it is no backup of a container');
    if (SECTIONS[this.#next] !== name) throw new Error('sections are read in their order');
    this.#next += 1;
    if ((await this.#take(4)).toString('latin1') !== name) throw this.refuse(`section ${name} is not where it belongs`);
    return this.#pieces();
  }

  /** After the last section. @throws INTEGRITY when a byte is not what was written */
  async end(): Promise<void> {
    const wanted = this.#sum.copy().digest();
    if (!(await this.#take(SUM_BYTES)).equals(wanted)) throw this.refuse('its check sum is wrong: it is not what was written');
    if ((await this.#source.take(1)).length > 0) throw this.refuse('something follows its end');
  }

  async close(): Promise<void> {
    await this.#source.close();
  }

  refuse(why: string): TemplatefsError {
    return new TemplatefsError('INTEGRITY', `${this.#path}: ${why}`, { hint: 'take another copy of it; nothing was changed' });
  }

  async *#pieces(): AsyncGenerator<Buffer, void> {
    for (;;) {
      const length = (await this.#take(4)).readUInt32LE();
      if (length === 0) return;
      if (length > MAX_PIECE_BYTES) throw this.refuse('a piece is too long');
      yield Buffer.from(await this.#take(length));
    }
  }

  async #take(length: number): Promise<Buffer> {
    const bytes = await this.#source.take(length);
    if (bytes.length !== length) throw this.refuse('it is cut short');
    this.#sum.update(bytes);
    return bytes;
  }
}

/** Passes over a section. */
export async function skip(section: AsyncGenerator<Buffer, void>): Promise<void> {
  while ((await section.next()).done !== true);
}
