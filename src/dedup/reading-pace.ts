import { setTimeout as sleep } from 'node:timers/promises';

/** How fast engines that compare for the same command may read together. */
export class ReadingPace {
  readonly #bytesPerSecond: number;
  #nextMs = 0;

  /** @param bytesPerSecond 0: as fast as the disk is */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** What may be read at once, so that waiting is spread evenly. */
  get burstBytes(): number {
    return this.#bytesPerSecond === 0 ? Infinity : Math.max(1, this.#bytesPerSecond / 4);
  }

  /** To be called when so much was read. */
  async read(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === 0) return;
    const now = performance.now();
    this.#nextMs = Math.max(this.#nextMs, now) + (bytes / this.#bytesPerSecond) * 1000;
    if (this.#nextMs - now >= 1) await sleep(this.#nextMs - now, undefined, signal === undefined ? {} : { signal });
  }
}
