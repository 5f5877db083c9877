/** One measured run. */
export interface Sample {
  /** Wall time in nanoseconds, or bytes: the scenario says which. */
  readonly value: number;
  /** What was done; must be the same for each peer and run, or the figures would compare different work. */
  readonly work: Readonly<Record<string, number>>;
}
