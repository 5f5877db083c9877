/** Lets what concerns one snapshot happen one after the other. */
export class Turns {
  readonly #last = new Map<number, Promise<void>>();

  async take<Result>(id: number, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(id) ?? Promise.resolve();
    let done: () => void = () => undefined;
    const turn = new Promise<void>((resolve) => (done = resolve));
    this.#last.set(id, turn);
    await before;
    try {
      return await work();
    } finally {
      if (this.#last.get(id) === turn) this.#last.delete(id);
      done();
    }
  }
}
