// npm run test:installer: apt and dpkg of a small distribution, killed at N random points of install, update and remove, in stopped and mounted
// containers; test/support/kill-operations.ts says what must hold after each kill. And packages of running containers.
//
//   npm run test:installer -- [--kills N]           50 if not said

import { parseArgs } from 'node:util';
import { main, passSignalsOn, run, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

passSignalsOn();
await main(async () => {
  const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' } } });
  const kills = Number(values.kills);
  if (!Number.isInteger(kills) || kills < 1) throw new ScriptError('--kills takes a number above 0');
  await setup({ packageGroups: ['run', 'build', 'test', 'runtimes'] });
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', 'installer-kills', 'installer-running'], {
    stdin: 'ignore',
    env: { TEMPLATEFS_INSTALLER_KILLS: String(kills), TEMPLATEFS_TEST_PROGRAMS: 'all' },
  });
});
