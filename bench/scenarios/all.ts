import { aptInstall } from './apt-install.js';
import { chmodUsrShare } from './chmod-usr-share.js';
import { containerStart } from './container-start.js';
import { cxxBuild } from './cxx-build.js';
import { DATA_SCENARIOS } from './data.js';
import { gitClone, gitStatus } from './git.js';
import { METADATA_SCENARIOS } from './metadata.js';
import { npmCi } from './npm-ci.js';
import { pgbench } from './pgbench.js';
import { readRoot } from './read-root.js';
import type { Scenario } from './scenario.js';
import { sqliteWal } from './sqlite-wal.js';
import { tarUsr } from './tar-usr.js';
import { rmRf, unpack } from './unpack.js';
import { walkRoot } from './walk-root.js';

const METADATA: readonly Scenario[] = [...METADATA_SCENARIOS, walkRoot, chmodUsrShare];
const WORK: readonly Scenario[] = [readRoot, tarUsr, unpack, rmRf, aptInstall, gitClone, gitStatus, npmCi, cxxBuild, sqliteWal, pgbench, containerStart];

/** Every scenario, in the order in which they are run and reported. */
export const SCENARIOS: readonly Scenario[] = [...DATA_SCENARIOS, ...METADATA, ...WORK];
