import { closeSync, constants, openSync, readSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';

/** What is used of it; its types come with those of browsers. */
declare const WebAssembly: { readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer } };

const PIECE_BYTES = 1 << 20;
const WASM_PAGE_BYTES = 65536;
/** O_DIRECT needs memory that starts on a page; that of WebAssembly does, a Buffer's does not. */
let piece: Buffer | undefined;

/**
 * Reads a regular file from the disk and not from the page cache, so that a check sees what a restart would see and does
 * not push out what containers use. Where the file system has no O_DIRECT, the page cache is read.
 * @param each gets the bytes piece by piece, in a buffer that is used again
 */
export function readFromDisk(path: string, each: (bytes: Buffer) => void): void {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  piece ??= Buffer.from(new WebAssembly.Memory({ initial: PIECE_BYTES / WASM_PAGE_BYTES, maximum: PIECE_BYTES / WASM_PAGE_BYTES }).buffer);
  const buffer = piece;
  let fd = openDirect(path, flags);
  try {
    for (let offset = 0; ; ) {
      let count: number;
      try {
        count = readSync(fd, buffer, 0, buffer.length, offset);
      } catch (error) {
        if (errnoOf(error) !== 'EINVAL') throw error;
        // A device with blocks larger than a page, or a file system that takes O_DIRECT at open(2) only.
        closeSync(fd);
        fd = openSync(path, flags);
        count = readSync(fd, buffer, 0, buffer.length, offset);
      }
      if (count > 0) each(buffer.subarray(0, count));
      offset += count;
      // Short is the end; going on from an odd offset is what O_DIRECT does not take.
      if (count < buffer.length) return;
    }
  } finally {
    closeSync(fd);
  }
}

function openDirect(path: string, flags: number): number {
  try {
    return openSync(path, flags | constants.O_DIRECT);
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error;
    return openSync(path, flags);
  }
}
