/**
 * A fixed number of buffers that travel to the worker threads and back. That there are only so many is what holds the
 * reader of an archive back while the threads are busy, and what keeps memory constant.
 */
export class BufferPool {
  readonly bufferBytes: number;
  readonly #free: ArrayBuffer[] = [];
  readonly #waiting: ((buffer: ArrayBuffer) => void)[] = [];
  #left: number;

  constructor(count: number, bufferBytes: number) {
    this.#left = count;
    this.bufferBytes = bufferBytes;
  }

  /** A buffer with any content; waits until one is free. */
  take(): ArrayBuffer | Promise<ArrayBuffer> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#left > 0) {
      this.#left -= 1;
      return new ArrayBuffer(this.bufferBytes);
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(buffer: ArrayBuffer): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#free.push(buffer);
    else waiting(buffer);
  }

  /** Lets everyone go on who waits: a thread has died, and its buffers with it. */
  releaseWaiting(): void {
    for (const resolve of this.#waiting.splice(0)) resolve(new ArrayBuffer(this.bufferBytes));
  }
}
