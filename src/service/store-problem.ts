import { TemplatefsError, errnoOf } from '../core/errors.js';

/** Something that a check has found. */
export interface StoreProblem {
  /** `object`, `tree`, `sums`, `stray`, `container`, `snapshot`, `template`, `catalog`. */
  readonly kind: string;
  readonly name: string;
  readonly problem: string;
  /** What mends it. */
  readonly repair: string;
}

/** What `verify --repair` has mended. */
export interface Repaired {
  readonly kind: string;
  readonly name: string;
  readonly problem: string;
}

export const REBUILD = 'templatefs catalog rebuild';
export const MEND = 'templatefs verify --repair';

export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error is about what is checked; all others (an interrupt, a missing engine) end the check. */
export function isFinding(error: unknown): boolean {
  if (!(error instanceof TemplatefsError)) return errnoOf(error) !== undefined;
  return ['INTEGRITY', 'BAD_TREE', 'BAD_CATALOG', 'IO_ERROR', 'CONTAINER_NOT_FOUND', 'FAILED'].includes(error.code);
}
