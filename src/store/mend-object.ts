import { createHash } from 'node:crypto';
import { chmodSync, chownSync, closeSync, constants, fstatSync, fsyncSync, ftruncateSync, linkSync, lstatSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { syncFolder } from './write-file-durably.js';
import { asidePath, type BrokenNote } from './broken-objects.js';
import { readFully } from './compare-content.js';
import { makeFolders } from './make-folders.js';
import { objectPathIn } from './object-id.js';
import { readFromDisk } from './read-from-disk.js';

const PIECE_BYTES = 1 << 20;

export interface ContentProof {
  readonly size: number;
  readonly sum: Uint8Array;
}

/**
 * Whether a content may take the name of an object that is broken. Its SHA-256 proves it. Where none was written down, its
 * fingerprint (which the caller has compared) and size decide, if whoever gave the source answers for it.
 */
export function mayMend(note: BrokenNote, content: ContentProof, trustFingerprint: boolean): boolean {
  if (note.size !== undefined && note.size !== content.size) return false;
  if (note.sum !== undefined) return note.sum.equals(content.sum);
  return trustFingerprint;
}

/**
 * Gives a broken object its content back from `source`, which holds the right bytes. Where the broken file was set aside,
 * the ranges of it that differ are written anew and it gets its name back: whoever has it open, also by a mapping, has the
 * right bytes from then on. Where that fails (the disk does not take the bytes), a copy takes the name.
 * Durable when it returns; a cut leaves the object broken as it was. The note stays, for the caller to remove.
 */
export function mendObject(objects: string, broken: string, note: BrokenNote, source: string): void {
  const target = objectPathIn(objects, note.id);
  makeFolders(dirname(target));
  const aside = asidePath(broken, note.id);
  if (lstatSync(aside, { throwIfNoEntry: false })?.isFile() === true && healInPlace(aside, source)) {
    takeName(aside, target);
    // The new name is durable before the old one goes.
    syncFolder(dirname(target));
    rmSync(aside, { force: true });
    syncFolder(broken);
  } else {
    takeName(source, target);
    syncFolder(dirname(target));
  }
}

/** Somebody else may have mended it a moment ago; its name is never taken away. */
function takeName(file: string, target: string): void {
  try {
    linkSync(file, target);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    if (errnoOf(error) !== 'EMLINK' && errnoOf(error) !== 'EXDEV') throw error;
    renameSync(file, target);
  }
}

/** Makes the file equal to `source`. @returns whether the disk has it so now */
function healInPlace(file: string, source: string): boolean {
  try {
    chownSync(file, 0, 0);
    chmodSync(file, 0o400);
    const from = openSync(source, constants.O_RDONLY);
    const to = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
    const wanted = createHash('sha256');
    try {
      const size = fstatSync(from).size;
      const right = Buffer.alloc(PIECE_BYTES);
      const found = Buffer.alloc(PIECE_BYTES);
      for (let at = 0; at < size; ) {
        const count = readFully(from, right, at);
        if (count === 0) return false;
        const piece = right.subarray(0, count);
        wanted.update(piece);
        if (!holds(to, piece, found, at)) for (let done = 0; done < count; ) done += writeSync(to, piece, done, count - done, at + done);
        at += count;
      }
      ftruncateSync(to, size);
      fsyncSync(to);
    } finally {
      closeSync(to);
      closeSync(from);
    }
    const onDisk = createHash('sha256');
    readFromDisk(file, (bytes) => onDisk.update(bytes));
    return onDisk.digest().equals(wanted.digest());
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** A range that cannot be read does not hold the bytes; writing it may give it another place on the disk. */
function holds(fd: number, wanted: Buffer, buffer: Buffer, at: number): boolean {
  try {
    const count = readSync(fd, buffer, 0, wanted.length, at);
    return count === wanted.length && wanted.compare(buffer, 0, count) === 0;
  } catch {
    return false;
  }
}
