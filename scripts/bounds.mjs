// npm run test:bounds: what a container can do very often in its root, and what that costs its engine.
//
//   npm run test:bounds -- [--count N]        1,000,000 if not said; needs as many free inodes in TMPDIR

import { parseArgs } from 'node:util';
import { main, passSignalsOn, run, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

passSignalsOn();
await main(async () => {
  const { values } = parseArgs({ options: { count: { type: 'string', default: '1000000' } } });
  const count = Number(values.count);
  if (!Number.isInteger(count) || count < 1000) throw new ScriptError('--count takes a number from 1000');
  await setup();
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', 'test/mount/bounded-tables.test.ts'], {
    stdin: 'ignore',
    env: { TEMPLATEFS_BOUNDS_COUNT: String(count) },
  });
});
