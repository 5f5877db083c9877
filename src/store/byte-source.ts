/** Pulls exact numbers of bytes from a stream of buffers. */
export class ByteSource {
  readonly #source: AsyncIterator<Buffer>;
  #chunk: Buffer = Buffer.alloc(0);
  #at = 0;
  #consumed = 0;
  #ended = false;

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes given out so far. */
  get offset(): number {
    return this.#consumed;
  }

  /**
   * The next bytes, or fewer at the end of the stream. The buffer may be a part of a chunk: it is only to be read, and
   * only until the next call.
   */
  take(length: number): Buffer | Promise<Buffer> {
    if (this.#chunk.length - this.#at < length) return this.#takeSlowly(length);
    const bytes = this.#chunk.subarray(this.#at, this.#at + length);
    this.#at += length;
    this.#consumed += length;
    return bytes;
  }

  /** Fills `target`; returns how many bytes there were, which is less only at the end of the stream. */
  fill(target: Buffer): number | Promise<number> {
    if (this.#chunk.length - this.#at < target.length) return this.#fillSlowly(target);
    this.#chunk.copy(target, 0, this.#at, this.#at + target.length);
    this.#at += target.length;
    this.#consumed += target.length;
    return target.length;
  }

  /** Passes over bytes; returns how many there were. */
  async skip(length: number): Promise<number> {
    let left = length;
    while (left > 0 && (this.#at < this.#chunk.length || (await this.#next()))) {
      const count = Math.min(left, this.#chunk.length - this.#at);
      this.#at += count;
      this.#consumed += count;
      left -= count;
    }
    return length - left;
  }

  /** Reads the stream to its end, so that what makes it can finish and be checked. */
  async drain(): Promise<void> {
    await this.skip(Number.POSITIVE_INFINITY);
  }

  /** Ends the stream early; what makes it is told to stop. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#source.return?.();
  }

  async #takeSlowly(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, await this.#fillSlowly(bytes));
  }

  async #fillSlowly(target: Buffer): Promise<number> {
    let done = 0;
    while (done < target.length && (this.#at < this.#chunk.length || (await this.#next()))) {
      const count = this.#chunk.copy(target, done, this.#at);
      this.#at += count;
      this.#consumed += count;
      done += count;
    }
    return done;
  }

  async #next(): Promise<boolean> {
    while (!this.#ended) {
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
      } else if (next.value.length > 0) {
        this.#chunk = next.value;
        this.#at = 0;
        return true;
      }
    }
    return false;
  }
}
