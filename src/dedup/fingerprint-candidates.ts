import { onAbort } from '../core/on-abort.js';
import { FULL_HASH_BITS } from '../store/fingerprint.js';
import { objectWorkers, responseError, type ObjectWorker } from '../store/object-workers.js';
import { ScrubPace } from '../store/scrub-pace.js';
import { shareFiles } from '../store/share-files.js';
import type { FileBelow, FileFingerprint } from '../store/worker-messages.js';

/** A message to a thread: enough that talking costs little, little enough that all threads end together. */
const MESSAGE = { files: 256, bytes: 32 * 2 ** 20 };

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
export async function fingerprintAll(files: readonly FileBelow[], what: 'ends' | 'whole', options: FingerprintOptions = {}): Promise<FileFingerprint[]> {
  const results: FileFingerprint[] = new Array<FileFingerprint>(files.length).fill(null);
  const pace = new ScrubPace(options.bytesPerSecond ?? 0);
  const stop = (): void => { pace.stop(); };
  const stopListening = onAbort(options.signal, stop);
  const shares = shareFiles(files, MESSAGE);
  const work = async (worker: ObjectWorker): Promise<void> => {
    for (const share of shares) {
      options.signal?.throwIfAborted();
      const response = await worker.request({
        kind: 'fingerprint',
        files: share.files,
        what,
        hashBits: options.hashBits ?? FULL_HASH_BITS,
        pace: pace.memory,
        bytesPerSecond: options.bytesPerSecond ?? 0,
      });
      const failed = responseError(response);
      if (failed !== undefined) throw failed;
      for (const [at, fingerprint] of (response.fingerprints ?? []).entries()) results[share.from + at] = fingerprint;
      options.onProgress?.(pace.bytesRead);
    }
  };
  try {
    const workers = objectWorkers();
    await Promise.all(workers.slice(0, options.threads === undefined || options.threads === 0 ? workers.length : options.threads).map(work));
    options.signal?.throwIfAborted();
    return results;
  } finally {
    stopListening();
  }
}
