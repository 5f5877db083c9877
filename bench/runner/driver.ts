import { runProgram, type RunOptions } from './run-program.js';
import type { Sample } from './sample.js';

/** Reads the one line that the driver prints. @returns its time, and all other numbers as the work it did */
export function parseSample(line: string): Sample {
  const values = JSON.parse(line) as Record<string, unknown>;
  const { ns, ...others } = values;
  if (typeof ns !== 'number' || !(ns > 0)) throw new Error(`the driver gave no time: ${line.trim()}`);
  const work: Record<string, number> = {};
  for (const [name, value] of Object.entries(others)) if (typeof value === 'number') work[name] = value;
  return { value: ns, work };
}

/** The native program in which everything is measured (driver/): a new process for each run. */
export class Driver {
  readonly #binary: string;

  constructor(binary: string) {
    this.#binary = binary;
  }

  async run(args: readonly string[], signal: AbortSignal, options: Omit<RunOptions, 'signal'> = {}): Promise<Sample> {
    return parseSample(await runProgram(this.#binary, args, { ...options, signal }));
  }

  /** A digest of names, metadata and content of all that is below `root`, and how much that is. Not for timing. */
  async digest(root: string, signal: AbortSignal): Promise<{ readonly digest: string; readonly work: Sample['work'] }> {
    const line = await runProgram(this.#binary, ['digest-root', root], { signal });
    const { digest } = JSON.parse(line) as { digest: string };
    return { digest, work: parseSample(line).work };
  }
}
