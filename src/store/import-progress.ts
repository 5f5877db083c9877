import { printableName, type RawName } from './raw-names.js';

export interface Progress {
  /** Bytes read of the source, so of the compressed archive. */
  readonly bytesRead: number;
  /** Regular files met so far. */
  readonly files: number;
  /** The member being read, fit for a terminal. */
  readonly currentPath: string;
}

export type ProgressListener = (progress: Progress) => void;

const INTERVAL_MS = 100;

/** Counts what an import has read and tells a listener, at most ten times a second and once at the end. */
export class ImportProgress {
  readonly #listener: ProgressListener | undefined;
  #bytesRead = 0;
  #files = 0;
  #path: RawName = '';
  #lastMs = 0;

  constructor(listener: ProgressListener | undefined) {
    this.#listener = listener;
  }

  /** Passes a stream on and counts its bytes. */
  async *count(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      this.#bytesRead += chunk.length;
      this.#tell(false);
      yield chunk;
    }
  }

  report(path: RawName, isFile: boolean): void {
    this.#path = path;
    if (isFile) this.#files += 1;
    if (this.#listener !== undefined) this.#tell(false);
  }

  end(): void {
    this.#tell(true);
  }

  #tell(always: boolean): void {
    if (this.#listener === undefined) return;
    const nowMs = performance.now();
    if (!always && nowMs - this.#lastMs < INTERVAL_MS) return;
    this.#lastMs = nowMs;
    this.#listener({ bytesRead: this.#bytesRead, files: this.#files, currentPath: printableName(this.#path) });
  }
}
