import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { CHECK_SIZE, PAGE_SIZE } from './tree-format.js';

const BLOCK_SIZE = 256 * PAGE_SIZE;

/**
 * Takes the bytes of a tree image in order, and gives them on in blocks: an image is never whole in memory. Keeps the
 * CRC of each page and the SHA-256 of everything on the way.
 */
export class ImageOutput {
  readonly #write: (block: Buffer) => void;
  readonly #digest = createHash('sha256');
  readonly #checks: number[] = [];
  readonly #block = Buffer.alloc(BLOCK_SIZE);
  #used = 0;
  #flushed = 0;

  /** @param write takes each block; the buffer is used again once it returns */
  constructor(write: (block: Buffer) => void) {
    this.#write = write;
  }

  get offset(): number {
    return this.#flushed + this.#used;
  }

  /** Zeroed space for a record of `size` bytes; size must divide the page size. */
  record(size: number): { readonly bytes: Buffer; readonly at: number } {
    if (this.#used + size > BLOCK_SIZE) this.#flush();
    const at = this.#used;
    this.#block.fill(0, at, at + size);
    this.#used += size;
    return { bytes: this.#block, at };
  }

  bytes(bytes: Buffer): void {
    for (let from = 0; from < bytes.length; ) {
      if (this.#used === BLOCK_SIZE) this.#flush();
      const taken = bytes.copy(this.#block, this.#used, from);
      this.#used += taken;
      from += taken;
    }
  }

  /** A raw string of at most a page. */
  raw(text: string): void {
    if (this.#used + text.length > BLOCK_SIZE) {
      this.bytes(Buffer.from(text, 'latin1'));
    } else {
      this.#used += this.#block.write(text, this.#used, 'latin1');
    }
  }

  /** Zeroes up to the offset `end`. */
  padTo(end: number): void {
    this.bytes(Buffer.alloc(end - this.offset));
  }

  /** Ends the image with the page checks; everything before must fill whole pages. Returns the digest in hex. */
  finish(): string {
    if (this.offset % PAGE_SIZE !== 0) throw new Error('the page checks start on a page');
    this.#flush();
    const checks = Buffer.alloc(this.#checks.length * CHECK_SIZE);
    // The header has its own check; the one of page 0 stays 0.
    for (let page = 1; page < this.#checks.length; page += 1) checks.writeUInt32LE(this.#checks[page] ?? 0, page * CHECK_SIZE);
    this.#digest.update(checks);
    this.#write(checks);
    return this.#digest.digest('hex');
  }

  #flush(): void {
    const block = this.#block.subarray(0, this.#used);
    for (let at = 0; at < block.length; at += PAGE_SIZE) this.#checks.push(crc32(block.subarray(at, at + PAGE_SIZE)));
    this.#digest.update(block);
    this.#write(block);
    this.#flushed += this.#used;
    this.#used = 0;
  }
}
