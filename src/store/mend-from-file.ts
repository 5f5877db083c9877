import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import type { StorePaths } from '../core/store-paths.js';
import type { BrokenNote } from './broken-objects.js';
import { mendObject } from './mend-object.js';
import { ensureStaging, stagingPath } from './staging.js';

const PIECE_BYTES = 1 << 20;

/**
 * Mends a broken object from any file that holds its content, however little its owner is to be trusted: the SHA-256 of
 * what was copied decides. The file may change meanwhile. @returns whether it did
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function mendFromFile(paths: StorePaths, note: BrokenNote, fd: number): boolean {
  const stat = fstatSync(fd);
  if (note.sum === undefined || !stat.isFile() || stat.size !== note.size) return false;
  // Only what looks right is worth a copy.
  if (!digestOf(fd).equals(note.sum)) return false;
  ensureStaging(paths);
  const staged = stagingPath(paths, 'objects');
  try {
    const copy = openSync(staged, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
    try {
      const digest = digestOf(fd, (bytes) => {
        for (let done = 0; done < bytes.length; ) done += writeSync(copy, bytes, done);
      });
      if (!digest.equals(note.sum)) return false;
      fsyncSync(copy);
    } finally {
      closeSync(copy);
    }
    mendObject(paths.objects, paths.broken, note, staged);
    return true;
  } finally {
    rmSync(staged, { force: true });
  }
}

function digestOf(fd: number, each?: (bytes: Buffer) => void): Buffer {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(PIECE_BYTES);
  for (let offset = 0; ; ) {
    const count = readSync(fd, buffer, 0, buffer.length, offset);
    if (count === 0) return hash.digest();
    hash.update(buffer.subarray(0, count));
    each?.(buffer.subarray(0, count));
    offset += count;
  }
}
