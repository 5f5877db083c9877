import { aptInstall } from './apt-install.js';
import { chmodUsrShare } from './chmod-usr-share.js';
import { containerdImages, containerdRun } from './containerd.js';
import { containerStart } from './container-start.js';
import { containers } from './containers.js';
import { cxxBuild } from './cxx-build.js';
import { DATA } from './data.js';
import { engineMemory } from './engine-memory.js';
import { git } from './git.js';
import { install } from './install.js';
import { merge, mergeFound, mergeLoad } from './merge.js';
import { METADATA } from './metadata.js';
import { npmCi } from './npm-ci.js';
import { pageCache } from './page-cache.js';
import { pgbench } from './pgbench.js';
import { readRoot } from './read-root.js';
import type { Scenario } from './scenario.js';
import { SIZES } from './size.js';
import { sqliteWal } from './sqlite-wal.js';
import { STORE } from './store.js';
import { tarUsr } from './tar-usr.js';
import { unpack } from './unpack.js';
import { walkRoot } from './walk-root.js';

const WORK: readonly Scenario[] = [readRoot, tarUsr, unpack, aptInstall, install, git, npmCi, cxxBuild, sqliteWal, pgbench, containerStart, containerdRun];

/** Every scenario, in the order in which they are run and reported. */
export const SCENARIOS: readonly Scenario[] = [
  ...DATA,
  ...METADATA, walkRoot, chmodUsrShare,
  ...WORK,
  pageCache, engineMemory, containerdImages,
  containers, ...SIZES,
  ...STORE, merge, mergeFound, mergeLoad,
];
