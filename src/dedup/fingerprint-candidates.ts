import { FULL_HASH_BITS } from '../store/fingerprint.js';
import { objectWorkers, responseError, type ObjectWorker } from '../store/object-workers.js';
import { ScrubPace } from '../store/scrub-pace.js';
import type { FileFingerprint } from '../store/worker-messages.js';

/** A message to a thread: enough that talking costs little, little enough that all threads end together. */
const FILES_PER_MESSAGE = 128;
const BYTES_PER_MESSAGE = 32 * 2 ** 20;

/** A file to be read: `open` gives its path in bytes when its turn comes; undefined: it is gone. */
export interface FileToRead {
  readonly sizeBytes: number;
  readonly path: () => Uint8Array | undefined;
}

export interface FingerprintOptions {
  /** Bits that count: fewer only in tests. */
  readonly hashBits?: number;
  /** 0: as fast as the disk is. */
  readonly bytesPerSecond?: number;
  /** Most threads at once; 0: all that there are. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** Bytes read so far. */
  readonly onProgress?: (bytes: number) => void;
}

/** Fingerprints of files, in their order, taken by the worker threads. @throws INTERRUPTED */
export async function fingerprintAll(files: readonly FileToRead[], what: 'ends' | 'whole', options: FingerprintOptions = {}): Promise<FileFingerprint[]> {
  const results: FileFingerprint[] = new Array<FileFingerprint>(files.length).fill({});
  const pace = new ScrubPace(options.bytesPerSecond ?? 0);
  const stop = (): void => { pace.stop(); };
  options.signal?.addEventListener('abort', stop, { once: true });
  let next = 0;
  const takeMessage = (): number[] => {
    const indexes: number[] = [];
    for (let bytes = 0; next < files.length && indexes.length < FILES_PER_MESSAGE && bytes < BYTES_PER_MESSAGE; next += 1) {
      indexes.push(next);
      bytes += files[next]?.sizeBytes ?? 0;
    }
    return indexes;
  };
  const work = async (worker: ObjectWorker): Promise<void> => {
    for (let indexes = takeMessage(); indexes.length > 0; indexes = takeMessage()) {
      options.signal?.throwIfAborted();
      const wanted = indexes.flatMap((index) => {
        const path = files[index]?.path();
        return path === undefined ? [] : [{ index, path, size: files[index]?.sizeBytes ?? 0 }];
      });
      const response = await worker.request({
        kind: 'fingerprint',
        files: wanted.map(({ path, size }) => ({ path, size })),
        what,
        hashBits: options.hashBits ?? FULL_HASH_BITS,
        pace: pace.memory,
        bytesPerSecond: options.bytesPerSecond ?? 0,
      });
      const failed = responseError(response);
      if (failed !== undefined) throw failed;
      for (const [at, { index }] of wanted.entries()) results[index] = response.fingerprints?.[at] ?? {};
      options.onProgress?.(pace.bytesRead);
    }
  };
  try {
    const workers = objectWorkers();
    await Promise.all(workers.slice(0, options.threads === undefined || options.threads === 0 ? workers.length : options.threads).map(work));
    options.signal?.throwIfAborted();
    return results;
  } finally {
    options.signal?.removeEventListener('abort', stop);
  }
}
