import { closeSync, fstatSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import { readFully } from './compare-content.js';
import { fingerprint, Fingerprint } from './fingerprint.js';
import { PrivateFiles } from './private-files.js';
import { ScrubPace } from './scrub-pace.js';
import { END_BYTES, WHOLE_AT_ONCE_BYTES, type FileBelow, type FileFingerprint, type FingerprintRequest } from './worker-messages.js';

const PIECE_BYTES = 1 << 20;
let piece: Buffer | undefined;

/** In a worker thread: fingerprints of files that somebody may be changing. Their atime stays. */
export function fingerprintFiles({ files, what, hashBits, pace: memory, bytesPerSecond }: FingerprintRequest): FileFingerprint[] {
  const pace = new ScrubPace(bytesPerSecond, memory);
  const opened = new PrivateFiles();
  const found: FileFingerprint[] = [];
  try {
    for (const file of files) {
      if (pace.isStopped()) break;
      try {
        found.push(fingerprintFile(opened, file, what, hashBits, pace));
      } catch (error) {
        found.push({ error: errnoOf(error) ?? (error instanceof Error ? error.message : String(error)) });
      }
    }
    return found;
  } finally {
    opened.close();
  }
}

function fingerprintFile(files: PrivateFiles, { top, path, sizeBytes: size }: FileBelow, what: 'ends' | 'whole', hashBits: number, pace: ScrubPace): string | null {
  const fd = files.open(top, path);
  if (fd === undefined) return null;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size !== size) return null;
    piece ??= Buffer.alloc(PIECE_BYTES);
    const isWhole = what === 'whole' || size <= WHOLE_AT_ONCE_BYTES;
    // Nearly all files are small: without a state that is fed it takes half the time.
    if (isWhole && size <= piece.length) return readRange(fd, 0, size, pace, () => undefined) ? fingerprint(piece.subarray(0, size), hashBits) : null;
    const state = new Fingerprint();
    const ranges: readonly (readonly [number, number])[] = isWhole ? [[0, size]] : [[0, END_BYTES], [size - END_BYTES, size]];
    for (const [start, end] of ranges) if (!readRange(fd, start, end, pace, (read) => { state.update(read); })) return null;
    return state.digest(hashBits);
  } finally {
    closeSync(fd);
  }
}

/** Reads a range in pieces, of which the last starts at the beginning of `piece`. @returns false when the file is shorter by now, or it is time to stop */
function readRange(fd: number, start: number, end: number, pace: ScrubPace, use: (read: Buffer) => void): boolean {
  piece ??= Buffer.alloc(PIECE_BYTES);
  for (let at = start; at < end; ) {
    const read = piece.subarray(0, Math.min(piece.length, end - at));
    if (readFully(fd, read, at) < read.length) return false;
    use(read);
    at += read.length;
    if (!pace.take(read.length)) return false;
  }
  return true;
}
