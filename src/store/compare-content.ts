import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { objectPathIn } from './object-id.js';

const COMPARE_BYTES = 1 << 20;
let left = Buffer.alloc(0);
let right = Buffer.alloc(0);

/** Reads until `target` is full or the file ends; returns the bytes read. */
export function readFully(fd: number, target: Buffer, position: number | null = null): number {
  let done = 0;
  while (done < target.length) {
    const count = readSync(fd, target, done, target.length - done, position === null ? null : position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Whether the file holds exactly these bytes. */
export function fileHolds(path: string, content: Buffer): boolean {
  const fd = openSync(path, 'r');
  try {
    if (fstatSync(fd).size !== content.length) return false;
    if (left.length === 0) left = Buffer.alloc(COMPARE_BYTES);
    for (let at = 0; at < content.length; ) {
      const piece = left.subarray(0, Math.min(COMPARE_BYTES, content.length - at));
      const count = readFully(fd, piece);
      if (count !== piece.length || piece.compare(content, at, at + count) !== 0) return false;
      at += count;
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Whether two files hold the same bytes. */
export function filesEqual(a: string, b: string): boolean {
  const fdA = openSync(a, 'r');
  try {
    const fdB = openSync(b, 'r');
    try {
      return fdsEqual(fdA, fdB);
    } finally {
      closeSync(fdB);
    }
  } finally {
    closeSync(fdA);
  }
}

function fdsEqual(a: number, b: number): boolean {
  const size = fstatSync(a).size;
  if (fstatSync(b).size !== size) return false;
  if (left.length === 0) left = Buffer.alloc(COMPARE_BYTES);
  if (right.length === 0) right = Buffer.alloc(COMPARE_BYTES);
  for (let at = 0; at < size; ) {
    const count = readFully(a, left);
    if (count === 0 || readFully(b, right) !== count) return false;
    if (left.compare(right, 0, count, 0, count) !== 0) return false;
    at += count;
  }
  return true;
}

/**
 * Looks for the variant of a fingerprint whose content is equal. Only bytes decide: neither the fingerprint nor the
 * size proves anything.
 * @param equal compares with the object at a path; called for each variant of the right size
 */
export function findEqualObject(objects: string, hash: string, size: number, equal: (path: string) => boolean): number | undefined {
  for (let variant = 0; ; variant += 1) {
    const path = objectPathIn(objects, { hash, variant });
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (stat.isFile() && stat.size === size && equal(path)) return variant;
  }
}
