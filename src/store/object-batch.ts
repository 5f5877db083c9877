import { rm, statfs } from 'node:fs/promises';
import { TemplatefsError, storeWriteError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import type { StorePaths } from '../core/store-paths.js';
import { BufferPool } from './buffer-pool.js';
import { linkContents, type CommittedObjects, type StagedContents } from './commit-objects.js';
import { SumList } from './content-sums.js';
import { FileSystemWrites } from './file-system-writes.js';
import { FULL_HASH_BITS } from './fingerprint.js';
import { namesIn } from './folder-names.js';
import { objectWorkers, responseError, type ObjectWorker } from './object-workers.js';
import { ScrubPace } from './scrub-pace.js';
import { shareFiles } from './share-files.js';
import { createStagingFolder } from './staging.js';
import type { BatchPlace, FileBelow, HashedContent, WorkerRequest, WorkerResponse } from './worker-messages.js';

/** Bytes of one message to a thread. Larger ones gain nothing more, smaller ones cost up to a fifth. */
const BUFFER_BYTES = 1 << 20;
/** Messages on their way to each thread; two keep it busy while the next is filled. */
const BUFFERS_PER_WORKER = 3;
const MAX_FILES_PER_MESSAGE = 512;
/** Of files that threads read themselves: little enough that all threads end together, and that a full disk is noticed. */
const COPIED_PER_MESSAGE = { files: 128, bytes: 16 * 2 ** 20 };
/** Longest hole that is hashed in one go: a fraction of a second, so that an abort is not held up. */
const HOLE_PIECE_BYTES = 2 ** 30;
/** Space that an import leaves on the file system, so that the catalog and running containers go on. */
const RESERVE_BYTES = 64 * 2 ** 20;
/** New content after which the disk begins to write it, while more is added; less is not worth a sync. */
const WRITEBACK_BYTES = 32 * 2 ** 20;

/** Files up to this size are collected into messages and written only if they are new; larger ones are streamed. */
export const SMALL_FILE_BYTES = 128 * 1024;

export interface ObjectBatchOptions {
  /** Bits of the fingerprint that count: fewer than 128 only in tests, to make collisions. */
  readonly hashBits?: number;
  /** Most bytes of new content; by default what is free on the store's file system, less 64 MiB. */
  readonly maxNewBytes?: number;
  /** Adds nothing: mends broken objects with these fingerprints. */
  readonly mendOnly?: readonly string[];
  /** See `mayMend`. */
  readonly trustFingerprint?: boolean;
}

/** Fills a buffer with the next bytes of a content. */
export type FillBuffer = (target: Buffer) => Promise<void> | void;

/** A content of a batch that is given piece by piece. */
export interface ObjectStream {
  /** Adds bytes; `fill` is called with one buffer after another until `length` bytes are there. */
  data(length: number, fill: FillBuffer): Promise<void>;
  /** Adds `length` zero bytes that take no space. `checkAbort` is called now and then, and may throw. */
  hole(length: number, checkAbort?: () => void): Promise<void>;
  /** Ends the content, which must not be empty. */
  end(): Ticket;
}

export interface AddFilesOptions {
  /** 0: as fast as the disk is. */
  readonly bytesPerSecond?: number;
  /** Most threads that read at once; 0: all that there are. */
  readonly threads?: number;
  /**
   * Of files of up to 1 MiB: an object of their fingerprint is believed to have their bytes, and is not read. For those who have
   * bytes compared later, before anything depends on it.
   */
  readonly believesNames?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes read so far. */
  readonly onProgress?: (bytes: number) => void;
}

/** Stands for one content of a batch until the batch is committed: 0, 1, 2, … in the order of adding. */
export type Ticket = number;

let batches = 0;
let streams = 0;

/**
 * Adds contents to the store, all or none. Contents are written to a folder of the batch's own below staging and hashed
 * on the way; `commit` makes them durable, gives them their names, and makes those durable. Until then the store has
 * nothing of them; `abandon` leaves nothing behind. Equal contents become one object, whoever added them; bytes are
 * compared before anything is shared. Several batches, also of several processes, may run at once.
 *
 * One content is added at a time: each call must have ended before the next.
 */
export class ObjectBatch {
  readonly #paths: StorePaths;
  readonly #place: BatchPlace;
  readonly #writes: FileSystemWrites;
  readonly #maxNewBytes: number;
  readonly #workers = objectWorkers();
  readonly #buffers = new BufferPool(this.#workers.length * BUFFERS_PER_WORKER, BUFFER_BYTES);
  readonly #pending = new Set<Promise<void>>();
  readonly #contents: StagedContents = { hashes: [], sizes: [], staged: [], variants: [], sums: new SumList() };
  #buffer: ArrayBuffer | undefined;
  #used = 0;
  #ends: number[] = [];
  #smallTickets: Ticket[] = [];
  #stagedBytes = 0;
  #writtenBackBytes = 0;
  #writeback: Promise<void> | undefined;
  #failure: unknown;
  #ended = false;

  private constructor(paths: StorePaths, place: BatchPlace, writes: FileSystemWrites, maxNewBytes: number) {
    this.#paths = paths;
    this.#place = place;
    this.#writes = writes;
    this.#maxNewBytes = maxNewBytes;
  }

  /** @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR */
  static async open(paths: StorePaths, options: ObjectBatchOptions = {}): Promise<ObjectBatch> {
    const staging = await createStagingFolder(paths);
    batches += 1;
    const place: BatchPlace = {
      batch: batches,
      objects: paths.objects,
      staging,
      broken: paths.broken,
      hashBits: options.hashBits ?? FULL_HASH_BITS,
      trustFingerprint: options.trustFingerprint ?? false,
      mendOnly: options.mendOnly,
    };
    const maxNewBytes = options.maxNewBytes ?? (await freeBytes(staging)) - RESERVE_BYTES;
    return new ObjectBatch(paths, place, FileSystemWrites.begin(staging), maxNewBytes);
  }

  /** Contents added so far. */
  get tickets(): number {
    return this.#contents.hashes.length;
  }

  /** Fails early if so many bytes more cannot be staged. @throws NO_SPACE */
  expect(bytes: number): void {
    if (this.#stagedBytes + bytes > this.#maxNewBytes) throw this.#noSpace();
  }

  /** Adds a content of 1 … SMALL_FILE_BYTES bytes. */
  async addSmall(size: number, fill: FillBuffer): Promise<Ticket> {
    if (size < 1 || size > SMALL_FILE_BYTES) throw new Error(`no small content: ${size} bytes`);
    this.#check();
    if (this.#used + size > BUFFER_BYTES || this.#ends.length === MAX_FILES_PER_MESSAGE) this.#sendFiles();
    this.#buffer ??= await this.#buffers.take();
    await fill(Buffer.from(this.#buffer, this.#used, size));
    this.#used += size;
    this.#ends.push(this.#used);
    const ticket = this.#newTicket();
    this.#smallTickets.push(ticket);
    return ticket;
  }

  /**
   * Adds contents of files, read by the threads: each file's as it is when its turn comes. Large holes stay holes.
   * @returns for each file its ticket; undefined where it is gone, or is not of that size any more
   */
  async addFiles(files: readonly FileBelow[], options: AddFilesOptions = {}): Promise<(Ticket | undefined)[]> {
    const { bytesPerSecond = 0, threads = 0, believesNames = false, signal, onProgress } = options;
    this.#check();
    const pace = new ScrubPace(bytesPerSecond);
    const stop = (): void => { pace.stop(); };
    const stopListening = onAbort(signal, stop);
    const tickets = new Array<Ticket | undefined>(files.length).fill(undefined);
    // A SHA-256 takes several times as long as all the rest, and only broken objects that may be mended by it are worth that.
    const withSums = namesIn(this.#paths.broken).length > 0;
    const shares = shareFiles(files, COPIED_PER_MESSAGE);
    const work = async (worker: ObjectWorker): Promise<void> => {
      for (const share of shares) {
        signal?.throwIfAborted();
        this.#check();
        const request = { kind: 'copy', place: this.#place, files: share.files, withSums, believesNames, pace: pace.memory, bytesPerSecond } as const;
        await this.#send(worker, request, (response) => {
          for (const [at, content] of (response.copied ?? []).entries()) {
            if (content === null) continue;
            const ticket = this.#newTicket();
            tickets[share.from + at] = ticket;
            this.#stagedBytes += content.written;
            this.#record(ticket, content);
          }
        });
        onProgress?.(pace.bytesRead);
      }
    };
    try {
      await Promise.all(this.#workers.slice(0, threads === 0 ? undefined : threads).map(work));
      signal?.throwIfAborted();
      this.#check();
      return tickets;
    } finally {
      stopListening();
    }
  }

  /** Starts a content of any size, which may have holes. */
  openStream(): ObjectStream {
    this.#check();
    streams += 1;
    const stream = streams;
    const place = this.#place;
    const worker = leastLoaded(this.#workers);
    void this.#send(worker, { kind: 'open', place, stream });
    let size = 0;
    let sentBytes = 0;
    return {
      data: async (length, fill) => {
        for (let left = length; left > 0; ) {
          this.#check();
          const buffer = await this.#buffers.take();
          const count = Math.min(left, BUFFER_BYTES);
          await fill(Buffer.from(buffer, 0, count));
          this.#stagedBytes += count;
          sentBytes += count;
          void this.#send(worker, { kind: 'data', stream, buffer, length: count });
          left -= count;
        }
        size += length;
      },
      hole: async (length, checkAbort) => {
        for (let left = length; left > 0; left -= HOLE_PIECE_BYTES) {
          this.#check();
          checkAbort?.();
          await this.#send(worker, { kind: 'hole', stream, length: Math.min(left, HOLE_PIECE_BYTES) });
        }
        size += length;
      },
      end: () => {
        if (size === 0) throw new Error('an empty content is no object');
        const ticket = this.#newTicket();
        // What was staged was counted as it was sent; what the thread gives back after all is taken off here.
        void this.#send(worker, { kind: 'close', stream }, (response) => {
          const content = response.contents?.[0];
          if (content === undefined) return;
          this.#stagedBytes += content.written - sentBytes;
          this.#record(ticket, content);
        });
        return ticket;
      },
    };
  }

  /**
   * Makes the contents objects of the store, durably.
   * @param used one byte a ticket, 0 for contents that are not wanted after all; by default all are wanted
   * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
   */
  async commit(used?: Uint8Array): Promise<CommittedObjects> {
    try {
      this.#sendFiles();
      await this.#settle();
      this.#check();
      // One syncfs makes all contents durable before any has a name, the second makes the names durable. It also
      // covers objects that were found in the store: another process may have linked them a moment ago.
      if (this.#stagedBytes > 0) await this.#writes.sync();
      const committed = await linkContents(this.#place, this.#contents, used, this.#workers);
      if (committed.objects.length > 0) await this.#writes.sync();
      return committed;
    } catch (error) {
      throw this.#writeError(error);
    } finally {
      await this.abandon();
    }
  }

  /** Ends the batch and removes what it staged. Does nothing once the batch has ended. */
  async abandon(): Promise<void> {
    if (this.#ended) return;
    this.#failure ??= new Error('the batch has ended');
    await this.#settle();
    await Promise.allSettled(this.#workers.map((worker) => worker.request({ kind: 'forget', batch: this.#place.batch })));
    this.#ended = true;
    this.#writes[Symbol.dispose]();
    // What cannot be removed is in nobody's way, and goes with the next import or collection.
    await rm(this.#place.staging, { recursive: true, force: true }).catch(() => undefined);
  }

  #sendFiles(): void {
    const buffer = this.#buffer;
    if (buffer === undefined || this.#ends.length === 0) return;
    const tickets = this.#smallTickets;
    const request = { kind: 'files', place: this.#place, buffer, ends: this.#ends } as const;
    void this.#send(leastLoaded(this.#workers), request, (response) => {
      for (const [index, content] of (response.contents ?? []).entries()) {
        this.#stagedBytes += content.written;
        this.#record(tickets[index] ?? 0, content);
      }
    });
    this.#buffer = undefined;
    this.#used = 0;
    this.#ends = [];
    this.#smallTickets = [];
  }

  #newTicket(): Ticket {
    const ticket = this.#contents.hashes.push('') - 1;
    this.#contents.sizes.push(0);
    this.#contents.staged.push(0);
    this.#contents.variants.push(-1);
    return ticket;
  }

  #record(ticket: Ticket, content: HashedContent): void {
    this.#contents.hashes[ticket] = content.hash;
    this.#contents.sizes[ticket] = content.size;
    this.#contents.staged[ticket] = content.staged;
    this.#contents.variants[ticket] = content.variant;
    this.#contents.sums.set(ticket, content.sum);
  }

  /** Never rejects: a failure is kept, and thrown by the next call. */
  async #send(worker: ObjectWorker, request: WorkerRequest, done?: (response: WorkerResponse) => void): Promise<void> {
    const sent = this.#answered(worker, request, done);
    this.#pending.add(sent);
    await sent;
    this.#pending.delete(sent);
  }

  async #answered(worker: ObjectWorker, request: WorkerRequest, done?: (response: WorkerResponse) => void): Promise<void> {
    try {
      const response = await worker.request(request);
      if (response.buffer !== undefined) this.#buffers.give(response.buffer);
      const error = responseError(response);
      if (error !== undefined) this.#failure ??= error;
      else {
        done?.(response);
        this.#writeBack();
      }
    } catch (error) {
      this.#failure ??= error;
      this.#buffers.releaseWaiting();
    }
  }

  /** Else the disk is idle until all has been added, and everybody waits for it then. */
  #writeBack(): void {
    if (this.#writeback !== undefined || this.#stagedBytes - this.#writtenBackBytes < WRITEBACK_BYTES) return;
    this.#writtenBackBytes = this.#stagedBytes;
    this.#writeback = this.#writes.sync()
      // It is told of what could not be written only once: the sync of the commit would not hear of it.
      .catch((error: unknown) => { this.#failure ??= error; })
      .finally(() => { this.#writeback = undefined; });
  }

  async #settle(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    await this.#writeback;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#writeError(this.#failure);
    if (this.#stagedBytes > this.#maxNewBytes) throw this.#noSpace();
  }

  #noSpace(): TemplatefsError {
    return new TemplatefsError('NO_SPACE', `more than ${Math.max(this.#maxNewBytes, 0)} bytes of new content for ${this.#paths.objects}`, {
      hint: 'free some space on the file system of the store (templatefs gc, df -h), then run the command again',
    });
  }

  #writeError(error: unknown): unknown {
    return storeWriteError(error, `objects in ${this.#paths.objects}`);
  }
}

function leastLoaded(workers: readonly ObjectWorker[]): ObjectWorker {
  const [first, ...others] = workers;
  if (first === undefined) throw new Error('there is always a worker');
  return others.reduce((best, worker) => (worker.load < best.load ? worker : best), first);
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}
