import { chmodUsrShare } from './chmod-usr-share.js';
import { DATA_SCENARIOS } from './data.js';
import { METADATA_SCENARIOS } from './metadata.js';
import { readRoot } from './read-root.js';
import type { Scenario } from './scenario.js';
import { walkRoot } from './walk-root.js';

/** Every scenario, in the order in which they are run and reported. */
export const SCENARIOS: readonly Scenario[] = [...DATA_SCENARIOS, ...METADATA_SCENARIOS, walkRoot, chmodUsrShare, readRoot];
