import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import { SMALL_FILE_BYTES, type ObjectBatch, type Ticket } from '../store/object-batch.js';
import type { Candidate } from './candidate.js';
import { READ_PRIVATE } from './private-files.js';

const PIECE_BYTES = 1 << 20;
const ZEROS = Buffer.alloc(PIECE_BYTES);
let piece: Buffer | undefined;

/** Adds the content of a private file to a batch. @returns undefined when it is gone or is not as it was */
export async function stageContent(batch: ObjectBatch, path: Buffer, { sizeBytes }: Candidate): Promise<Ticket | undefined> {
  let fd: number;
  try {
    fd = openSync(path, READ_PRIVATE);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== sizeBytes) return undefined;
    piece ??= Buffer.alloc(PIECE_BYTES);
    if (sizeBytes <= SMALL_FILE_BYTES) {
      const content = piece.subarray(0, sizeBytes);
      if (!readAt(fd, content, 0)) return undefined;
      return await batch.addSmall(sizeBytes, (target) => void content.copy(target));
    }
    const stream = batch.openStream();
    for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
      const content = piece.subarray(0, Math.min(PIECE_BYTES, sizeBytes - at));
      // A stream that is not ended goes with the batch.
      if (!readAt(fd, content, at)) return undefined;
      if (content.equals(ZEROS.subarray(0, content.length))) await stream.hole(content.length);
      else await stream.data(content.length, (target) => void content.copy(target));
    }
    return stream.end();
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, target: Buffer, position: number): boolean {
  for (let done = 0; done < target.length; ) {
    const count = readSync(fd, target, done, target.length - done, position + done);
    if (count === 0) return false;
    done += count;
  }
  return true;
}
