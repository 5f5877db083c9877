// npm run test:installer: apt, dnf and zypper of small distributions, killed at N random points each of install, update and remove, in stopped and
// mounted containers, with apt also while it replays; test/support/kill-operations.ts says what must hold after each kill. And packages of running containers.
//
//   npm run test:installer -- [--kills N] [--only apt|dnf|zypper|running]           50 if not said

import { parseArgs } from 'node:util';
import { main, passSignalsOn, run, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

const PARTS = {
  apt: ['installer-kills.long'],
  dnf: ['installer-kills-rpm', '-t', '^dnf'],
  zypper: ['installer-kills-rpm', '-t', '^zypper'],
  running: ['installer-running'],
};

passSignalsOn();
await main(async () => {
  const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, only: { type: 'string' } } });
  const kills = Number(values.kills);
  if (!Number.isInteger(kills) || kills < 1) throw new ScriptError('--kills takes a number above 0');
  if (values.only !== undefined && !Object.hasOwn(PARTS, values.only)) throw new ScriptError(`--only takes one of ${Object.keys(PARTS).join(', ')}`);
  await setup({ packageGroups: ['run', 'build', 'test', 'runtimes', 'programs'] });
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...(values.only === undefined ? ['installer-'] : PARTS[values.only])], {
    stdin: 'ignore',
    env: { TEMPLATEFS_INSTALLER_KILLS: String(kills), TEMPLATEFS_TEST_PROGRAMS: 'all' },
  });
});
