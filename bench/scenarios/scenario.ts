import type { Driver } from '../runner/driver.js';

/** `cold`: nothing of the root is in memory; `warm`: the same was done a moment ago. */
export type CacheState = 'cold' | 'warm';

export interface Sample {
  /** Wall time. */
  readonly ns: number;
  /** What was done; must be the same for each peer and run, or the figures would compare different work. */
  readonly work: Readonly<Record<string, number>>;
}

export interface RunContext {
  readonly driver: Driver;
  readonly signal: AbortSignal;
}

/** One thing that users do, measured. A file of this folder each; all.ts lists them. */
export interface Scenario {
  readonly name: string;
  /** What is done and timed, in one line. */
  readonly what: string;
  /** Where a user meets it. */
  readonly meaning: string;
  readonly caches: readonly CacheState[];
  /** Whether the root is changed, so that a fresh one is needed for each run. */
  readonly changesRoot: boolean;
  /** Untimed work on a fresh root before the measured run. */
  prepare?(root: string, context: RunContext): Promise<void>;
  /** One measured run, in a process started for it. */
  run(root: string, context: RunContext): Promise<Sample>;
}
