import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { TemplatefsError } from '../core/errors.js';
import { CHECK_SIZE, PAGE_SIZE } from './tree-format.js';

/** Small enough that a look-up at random reads little, large enough that a walk makes few system calls. */
const BLOCK_PAGES = 4;
const BLOCK_SIZE = BLOCK_PAGES * PAGE_SIZE;
const MAX_BLOCKS = 1024;

/** An error that names a broken tree image. */
export function badTree(file: string, rule: string): TemplatefsError {
  return new TemplatefsError('BAD_TREE', `broken tree ${file}: ${rule}`, {
    hint: 'nothing was changed; see what `templatefs verify` says, and import the template again',
  });
}

interface Block {
  readonly bytes: Buffer;
  /** One bit a page: its CRC was right. */
  checked: number;
}

/**
 * The bytes of one tree image, read when they are first used and checked page by page. At most 16 MiB of it stay in
 * memory. Every read is synchronous: an image is a local file, and mostly in the page cache.
 */
export class TreePages {
  readonly file: string;
  /** Bytes of the file. */
  readonly size: number;
  readonly #fd: number;
  #closed = false;
  #checksOffset = 0;
  readonly #blocks = new Map<number, Block>();

  /** @throws the system error of open(2); BAD_TREE when it is no regular file */
  constructor(file: string) {
    this.file = file;
    this.#fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(this.#fd);
    this.size = stat.size;
    if (!stat.isFile()) {
      this.close();
      throw badTree(file, 'it is no regular file');
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#blocks.clear();
    closeSync(this.#fd);
  }

  /** Says where the page checks start; until then no page can be used but through `readUnchecked`. */
  setChecks(checksOffset: number): void {
    this.#checksOffset = checksOffset;
  }

  /** Bytes as they stand in the file, without a check. Fewer than asked for at the end of the file. */
  readUnchecked(offset: number, length: number): Buffer {
    if (this.#closed) throw new Error(`${this.file} is closed`);
    const bytes = Buffer.alloc(length);
    let done = 0;
    while (done < length) {
      const count = readSync(this.#fd, bytes, done, length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return bytes.subarray(0, done);
  }

  /**
   * The block that holds a record, and where in it; a record must not cross a page. Bounds are the caller's to check.
   * @throws BAD_TREE when the page's CRC differs
   */
  record(offset: number): { readonly bytes: Buffer; readonly at: number } {
    const block = this.#block(Math.floor(offset / BLOCK_SIZE));
    const at = offset % BLOCK_SIZE;
    this.#check(block, offset);
    return { bytes: block.bytes, at };
  }

  /** Bytes that may cross pages. @throws BAD_TREE as `record` does */
  bytes(offset: number, length: number): Buffer {
    const first = this.#block(Math.floor(offset / BLOCK_SIZE));
    const at = offset % BLOCK_SIZE;
    if (at + length <= BLOCK_SIZE) {
      for (let page = offset - (offset % PAGE_SIZE); page < offset + length; page += PAGE_SIZE) this.#check(first, page);
      return first.bytes.subarray(at, at + length);
    }
    const parts: Buffer[] = [];
    for (let from = offset; from < offset + length; ) {
      const upTo = Math.min(offset + length, (Math.floor(from / BLOCK_SIZE) + 1) * BLOCK_SIZE);
      parts.push(this.bytes(from, upTo - from));
      from = upTo;
    }
    return Buffer.concat(parts);
  }

  #block(number: number): Block {
    let block = this.#blocks.get(number);
    if (block === undefined) {
      if (this.#blocks.size >= MAX_BLOCKS) this.#dropOldest();
      block = { bytes: this.readUnchecked(number * BLOCK_SIZE, BLOCK_SIZE), checked: 0 };
      this.#blocks.set(number, block);
    }
    return block;
  }

  #dropOldest(): void {
    for (const number of this.#blocks.keys()) {
      this.#blocks.delete(number);
      return;
    }
  }

  #check(block: Block, offset: number): void {
    const page = Math.floor(offset / PAGE_SIZE);
    const bit = 1 << (page % BLOCK_PAGES);
    if ((block.checked & bit) !== 0) return;
    const at = (page % BLOCK_PAGES) * PAGE_SIZE;
    const stored = this.readUnchecked(this.#checksOffset + page * CHECK_SIZE, CHECK_SIZE);
    if (page === 0 || stored.length < CHECK_SIZE || at + PAGE_SIZE > block.bytes.length) {
      throw badTree(this.file, `page ${page} has no check`);
    }
    if (crc32(block.bytes.subarray(at, at + PAGE_SIZE)) !== stored.readUInt32LE(0)) {
      throw badTree(this.file, `the CRC of page ${page} differs`);
    }
    block.checked |= bit;
  }
}
