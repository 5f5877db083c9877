import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import { Fingerprint } from './fingerprint.js';
import { ScrubPace } from './scrub-pace.js';
import { END_BYTES, WHOLE_AT_ONCE_BYTES, type FileFingerprint, type FingerprintRequest } from './worker-messages.js';

/** For reading a private file: it is not followed if it is a symlink by now, and reading does not show in its atime. */
export const READ_PRIVATE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOATIME;
const PIECE_BYTES = 1 << 20;
let piece: Buffer | undefined;

/** In a worker thread: fingerprints of files that somebody may be changing. Their atime stays. */
export function fingerprintFiles({ files, what, hashBits, pace: memory, bytesPerSecond }: FingerprintRequest): FileFingerprint[] {
  const pace = new ScrubPace(bytesPerSecond, memory);
  const found: FileFingerprint[] = [];
  for (const { path, size } of files) {
    if (pace.isStopped()) break;
    try {
      found.push(fingerprintFile(Buffer.from(path.buffer, path.byteOffset, path.byteLength), size, what, hashBits, pace));
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP') found.push({});
      else found.push({ error: errno ?? (error instanceof Error ? error.message : String(error)) });
    }
  }
  return found;
}

function fingerprintFile(path: Buffer, size: number, what: 'ends' | 'whole', hashBits: number, pace: ScrubPace): FileFingerprint {
  const fd = openSync(path, READ_PRIVATE);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== size) return {};
    const fingerprint = new Fingerprint();
    const isWhole = what === 'whole' || size <= WHOLE_AT_ONCE_BYTES;
    const ranges: readonly (readonly [number, number])[] = isWhole ? [[0, size]] : [[0, END_BYTES], [size - END_BYTES, size]];
    for (const [start, end] of ranges) if (!readRange(fd, start, end, fingerprint, pace)) return {};
    return { hash: fingerprint.digest(hashBits) };
  } finally {
    closeSync(fd);
  }
}

/** @returns false when the file is shorter by now, or it is time to stop */
function readRange(fd: number, start: number, end: number, fingerprint: Fingerprint, pace: ScrubPace): boolean {
  piece ??= Buffer.alloc(PIECE_BYTES);
  for (let at = start; at < end; ) {
    const count = readSync(fd, piece, 0, Math.min(piece.length, end - at), at);
    if (count === 0) return false;
    fingerprint.update(piece.subarray(0, count));
    at += count;
    if (!pace.take(count)) return false;
  }
  return true;
}
