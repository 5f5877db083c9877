/**
 * What has to be undone, newest first, however the run ends. Each step may fail without stopping the others; all that
 * failed is told.
 */
export class CleanUp {
  readonly #steps: { readonly what: string; readonly undo: () => Promise<void> | void }[] = [];

  /** @param what for the message if it fails: "unmount …" */
  add(what: string, undo: () => Promise<void> | void): void {
    this.#steps.push({ what, undo });
  }

  /** @returns what went wrong, one line each */
  async run(): Promise<string[]> {
    const problems: string[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        problems.push(`could not ${step.what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return problems;
  }
}
