import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, existsSync, fstatSync, ftruncateSync, linkSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { errnoOf } from '../core/errors.js';
import { readNote } from './broken-objects.js';
import { fileHolds, filesEqual, findEqualObject, readFully } from './compare-content.js';
import { fingerprint, Fingerprint } from './fingerprint.js';
import { makeFolders } from './make-folders.js';
import { mayMend, mendObject, type ContentProof } from './mend-object.js';
import { objectPathIn, type ObjectId } from './object-id.js';
import { PrivateFiles } from './private-files.js';
import { ScrubPace } from './scrub-pace.js';
import { stagedName, stagedNumber, stagedSerial, type BatchPlace, type CopyFilesRequest, type HashedContent, type LinkedContent, type LinkRequest } from './worker-messages.js';

/** What this thread knows of one batch. */
interface Batch {
  readonly streams: Set<number>;
  /**
   * Serials of staged contents by a part of their fingerprint: equal files of one import are staged once (by each
   * thread for itself). Bytes decide, so 30 bits do; whole fingerprints as keys would take five times the memory.
   */
  readonly staged: Map<number, number | number[]>;
  /** Files made so far. */
  created: number;
}

interface Stream {
  readonly place: BatchPlace;
  readonly fd: number;
  readonly staged: number;
  readonly fingerprint: Fingerprint;
  /** SHA-256; undefined where nobody asks for it, and once the content has had too many holes. */
  sum: Hash | undefined;
  holeBytes: number;
  /** Where the next byte goes; holes only move it. */
  offset: number;
  /** Where the last byte of data ended. */
  dataEnd: number;
  written: number;
}

interface FileToCopy {
  readonly fd: number;
  readonly size: number;
  readonly withSums: boolean;
  readonly believesNames: boolean;
  readonly pace: ScrubPace;
}

/** Zeros are hashed by SHA-256 up to this many: a sparse file of a TiB would take most of an hour. */
const MAX_SUMMED_HOLE_BYTES = 2 ** 30;
const ZEROS = Buffer.alloc(1 << 20);
const NO_SUM = new Uint8Array(32);
/** Files of up to so much are looked up by their fingerprint before anything is written. */
const COPY_BYTES = 1 << 20;
let copied: Buffer | undefined;

/**
 * What a worker thread does for batches of objects: hash and write contents into staging, each byte read once, and
 * later link them into the store. All calls are synchronous; a thread does one at a time.
 */
export class WorkerBatches {
  readonly #batches = new Map<number, Batch>();
  readonly #streams = new Map<number, Stream>();

  /** Files that are whole in memory are hashed first, and only written if they are new. */
  storeFiles(place: BatchPlace, bytes: Buffer, ends: readonly number[]): HashedContent[] {
    let start = 0;
    return ends.map((end) => {
      const content = bytes.subarray(start, end);
      start = end;
      return this.#storeFile(place, content, { withSums: true, believesNames: false });
    });
  }

  /** What is read of each file becomes the content, whoever changes the file meanwhile. */
  copyFiles({ place, files, withSums, believesNames, pace: memory, bytesPerSecond }: CopyFilesRequest): (HashedContent | null)[] {
    const pace = new ScrubPace(bytesPerSecond, memory);
    const opened = new PrivateFiles();
    try {
      return files.map(({ top, path, sizeBytes: size }) => {
        const fd = pace.isStopped() ? undefined : opened.open(top, path);
        return fd === undefined ? null : this.#copyFile(place, { fd, size, withSums, believesNames, pace });
      });
    } finally {
      opened.close();
    }
  }

  #copyFile(place: BatchPlace, file: FileToCopy): HashedContent | null {
    const { fd, size, pace } = file;
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile() || stat.size !== size) return null;
      copied ??= Buffer.alloc(COPY_BYTES);
      if (size <= COPY_BYTES) {
        const content = copied.subarray(0, size);
        const isWhole = readFully(fd, content, 0) === size && pace.take(size);
        return isWhole ? this.#storeFile(place, content, file) : null;
      }
      return this.#copyLargeFile(place, file);
    } finally {
      closeSync(fd);
    }
  }

  #copyLargeFile(place: BatchPlace, { fd, size, withSums, pace }: FileToCopy): HashedContent | null {
    // Streams of the control plane have positive numbers.
    const id = -1;
    this.openStream(place, id, withSums);
    for (let at = 0; at < size; at += COPY_BYTES) {
      const content = (copied ??= Buffer.alloc(COPY_BYTES)).subarray(0, Math.min(COPY_BYTES, size - at));
      if (readFully(fd, content, at) < content.length || !pace.take(content.length)) {
        this.#dropStream(id);
        return null;
      }
      if (content.equals(ZEROS.subarray(0, content.length))) this.streamHole(id, content.length);
      else this.streamData(id, content);
    }
    return this.closeStream(id);
  }

  #storeFile(place: BatchPlace, content: Buffer, { withSums, believesNames }: Pick<FileToCopy, 'withSums' | 'believesNames'>): HashedContent {
    const hash = fingerprint(content, place.hashBits);
    const sum = withSums ? createHash('sha256').update(content).digest() : NO_SUM;
    if (isUnwanted(place, hash)) return { hash, size: content.length, staged: 0, variant: 0, written: 0, sum };
    if (believesNames && existsSync(objectPathIn(place.objects, { hash, variant: 0 }))) return { hash, size: content.length, staged: 0, variant: 0, written: 0, sum };
    const found = this.#findKnown(place, hash, content.length, (path) => fileHolds(path, content));
    if (found !== undefined) return { ...found, sum };
    const staged = this.#newNumber(place);
    const fd = createStaged(place, staged);
    try {
      writeFully(fd, content, 0);
    } finally {
      closeSync(fd);
    }
    this.#remember(place, hash, staged);
    return { hash, size: content.length, staged, variant: -1, written: content.length, sum };
  }

  openStream(place: BatchPlace, stream: number, withSum = true): void {
    const staged = this.#newNumber(place);
    const fd = createStaged(place, staged);
    this.#batch(place.batch).streams.add(stream);
    this.#streams.set(stream, { place, fd, staged, fingerprint: new Fingerprint(), sum: withSum ? createHash('sha256') : undefined, holeBytes: 0, offset: 0, dataEnd: 0, written: 0 });
  }

  streamData(id: number, bytes: Buffer): void {
    const stream = this.#stream(id);
    stream.fingerprint.update(bytes);
    stream.sum?.update(bytes);
    writeFully(stream.fd, bytes, stream.offset);
    stream.offset += bytes.length;
    stream.dataEnd = stream.offset;
    stream.written += bytes.length;
  }

  streamHole(id: number, length: number): void {
    const stream = this.#stream(id);
    stream.fingerprint.updateZeros(length);
    stream.holeBytes += length;
    if (stream.holeBytes > MAX_SUMMED_HOLE_BYTES) stream.sum = undefined;
    for (let left = stream.sum === undefined ? 0 : length; left > 0; left -= ZEROS.length) {
      stream.sum?.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS);
    }
    stream.offset += length;
  }

  closeStream(id: number): HashedContent {
    const stream = this.#stream(id);
    const { place, staged, offset: size } = stream;
    try {
      if (stream.dataEnd < size) ftruncateSync(stream.fd, size);
    } finally {
      this.#streams.delete(id);
      this.#batch(place.batch).streams.delete(id);
      closeSync(stream.fd);
    }
    const hash = stream.fingerprint.digest(place.hashBits);
    const path = stagedPath(place, staged);
    const sum = stream.sum?.digest() ?? NO_SUM;
    if (isUnwanted(place, hash)) {
      unlinkSync(path);
      return { hash, size, staged: 0, variant: 0, written: 0, sum };
    }
    const found = this.#findKnown(place, hash, size, (other) => filesEqual(path, other));
    if (found !== undefined) {
      unlinkSync(path);
      return { ...found, sum };
    }
    this.#remember(place, hash, staged);
    return { hash, size, staged, variant: -1, written: stream.written, sum };
  }

  /** Its file goes with the batch. */
  #dropStream(id: number): void {
    const stream = this.#stream(id);
    this.#streams.delete(id);
    this.#batch(stream.place.batch).streams.delete(id);
    closeSync(stream.fd);
  }

  /**
   * Gives each staged content the first free name of its fingerprint. link(2) never replaces, so two processes may do
   * this at once: the one that comes second finds the name taken, and compares. The name of an object that is known to be
   * broken is taken, too, by the content that it stands for: that one mends it.
   */
  link({ place, contents }: LinkRequest): LinkedContent[] {
    // Nothing is added any more.
    this.#batch(place.batch).staged.clear();
    const folders = new Set<string>();
    return contents.map(({ hash, staged, size, sum }) => {
      const folder = `${place.objects}/${hash.slice(0, 2)}`;
      if (!folders.has(folder)) {
        makeFolders(folder);
        folders.add(folder);
      }
      const source = stagedPath(place, staged);
      for (let variant = 0; ; variant += 1) {
        const id = { hash, variant };
        const target = objectPathIn(place.objects, id);
        const note = readNote(place.broken, id);
        if (note !== undefined && !existsSync(target)) {
          if (!mayMend(note, { size, sum }, place.trustFingerprint)) continue;
          mendObject(place.objects, place.broken, note, source);
        } else if (place.mendOnly !== undefined && !existsSync(target)) {
          unlinkSync(source);
          return { variant, created: false };
        }
        const created = linkUnlessTaken(source, target);
        if (!created && !filesEqual(source, target)) continue;
        if (created && isTakenByNow(place, id, { size, sum })) {
          unlinkSync(target);
          continue;
        }
        unlinkSync(source);
        return { variant, created };
      }
    });
  }

  forget(number: number): void {
    for (const id of this.#batches.get(number)?.streams ?? []) {
      const stream = this.#streams.get(id);
      this.#streams.delete(id);
      if (stream !== undefined) closeSync(stream.fd);
    }
    this.#batches.delete(number);
  }

  /** An equal object of the store, or an equal content that this thread has staged. */
  #findKnown(place: BatchPlace, hash: string, size: number, equal: (path: string) => boolean): Omit<HashedContent, 'sum'> | undefined {
    const variant = findEqualObject(place.objects, hash, size, equal);
    if (variant !== undefined) return { hash, size, staged: 0, variant, written: 0 };
    const known = this.#batch(place.batch).staged.get(shortKey(hash)) ?? [];
    for (const serial of typeof known === 'number' ? [known] : known) {
      const staged = stagedNumber(threadId, serial);
      if (equal(stagedPath(place, staged))) return { hash, size, staged, variant: -1, written: 0 };
    }
    return undefined;
  }

  #remember(place: BatchPlace, hash: string, staged: number): void {
    const contents = this.#batch(place.batch).staged;
    const serial = stagedSerial(staged);
    const key = shortKey(hash);
    const known = contents.get(key);
    // Nearly always there is one: a number takes much less memory than a list of one.
    if (known === undefined) contents.set(key, serial);
    else if (typeof known === 'number') contents.set(key, [known, serial]);
    else known.push(serial);
  }

  #batch(number: number): Batch {
    let batch = this.#batches.get(number);
    if (batch === undefined) {
      batch = { streams: new Set(), staged: new Map(), created: 0 };
      this.#batches.set(number, batch);
    }
    return batch;
  }

  #stream(id: number): Stream {
    const stream = this.#streams.get(id);
    if (stream === undefined) throw new Error(`no stream ${id}`);
    return stream;
  }

  /** Unique among the batch's threads, and dense for each of them. */
  #newNumber(place: BatchPlace): number {
    const batch = this.#batch(place.batch);
    batch.created += 1;
    return stagedNumber(threadId, batch.created);
  }
}

/** Whether a batch that only mends has no use for a content. */
function isUnwanted({ mendOnly }: BatchPlace, hash: string): boolean {
  return mendOnly !== undefined && !mendOnly.includes(hash);
}

/** Whether the object of that name was found broken, and set aside, between our look and our link. */
function isTakenByNow(place: BatchPlace, id: ObjectId, content: ContentProof): boolean {
  const note = readNote(place.broken, id);
  return note !== undefined && !mayMend(note, content, place.trustFingerprint);
}

/** The first 30 bits: a number that needs no memory of its own. */
function shortKey(hash: string): number {
  return Number.parseInt(hash.slice(0, 8), 16) >>> 2;
}

function stagedPath(place: BatchPlace, staged: number): string {
  return `${place.staging}/${stagedName(staged)}`;
}

/** Objects are readable by root alone, and by nobody writable, from their first moment on. */
function createStaged(place: BatchPlace, staged: number): number {
  return openSync(stagedPath(place, staged), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
}

function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

function linkUnlessTaken(source: string, target: string): boolean {
  try {
    linkSync(source, target);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
