import { readRoot } from './read-root.js';
import type { Scenario } from './scenario.js';
import { walkRoot } from './walk-root.js';

/** Every scenario, in the order in which they are run and reported. */
export const SCENARIOS: readonly Scenario[] = [readRoot, walkRoot];
