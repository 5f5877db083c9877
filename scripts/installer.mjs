// npm run test:installer: the installer on a real Debian root, killed at N random points of install and remove, in stopped and mounted
// containers. test/e2e/installer-cases.ts says what must hold after each kill.
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
  await setup();
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', 'test/e2e/debian.test.ts'], {
    stdin: 'ignore',
    env: { TEMPLATEFS_INSTALLER_KILLS: String(kills) },
  });
});
