/**
 * How fast threads may read together, how far they have come, and whether they shall stop: some numbers in memory that
 * all of them share. A thread that waits is woken by a stop at once.
 */
export class ScrubPace {
  /** What is sent to threads. */
  readonly memory: SharedArrayBuffer;
  readonly #stop: Int32Array;
  /** Microseconds at which the next piece may be read; bytes read so far. */
  readonly #numbers: BigInt64Array;
  readonly #bytesPerSecond: number;

  /** @param bytesPerSecond 0: as fast as the disk is */
  constructor(bytesPerSecond: number, memory = new SharedArrayBuffer(24)) {
    this.memory = memory;
    this.#stop = new Int32Array(memory, 0, 1);
    this.#numbers = new BigInt64Array(memory, 8, 2);
    this.#bytesPerSecond = bytesPerSecond;
  }

  stop(): void {
    Atomics.store(this.#stop, 0, 1);
    Atomics.notify(this.#stop, 0);
  }

  isStopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  get bytesRead(): number {
    return Number(Atomics.load(this.#numbers, 1));
  }

  /** Notes that bytes were read, and waits as long as that takes at this rate. @returns false when it is time to stop */
  take(bytes: number): boolean {
    Atomics.add(this.#numbers, 1, BigInt(bytes));
    if (this.#bytesPerSecond > 0) this.#waitFor(bytes);
    return !this.isStopped();
  }

  #waitFor(bytes: number): void {
    const cost = BigInt(Math.ceil((bytes * 1e6) / this.#bytesPerSecond));
    // performance.now() counts from the start of each thread.
    const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000));
    let mine: bigint;
    for (;;) {
      const next = Atomics.load(this.#numbers, 0);
      mine = (next > now ? next : now) + cost;
      if (Atomics.compareExchange(this.#numbers, 0, next, mine) === next) break;
    }
    const waitMs = Number(mine - now) / 1000;
    if (waitMs >= 1) Atomics.wait(this.#stop, 0, 0, waitMs);
  }
}
