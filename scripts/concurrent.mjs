// npm run test:concurrent: twenty commands at once on one store with SIGKILLs of commands, workers and holders, for as long as
// wanted. test/e2e/concurrent-kills.test.ts says what must hold after each round.
//
//   npm run test:concurrent -- [--minutes N]        10 if not said

import { parseArgs } from 'node:util';
import { main, passSignalsOn, run, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

passSignalsOn();
await main(async () => {
  const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new ScriptError('--minutes takes a number above 0');
  await setup();
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', 'test/e2e/concurrent-kills.test.ts'], {
    stdin: 'ignore',
    env: { TEMPLATEFS_CONCURRENT_SECONDS: String(Math.round(minutes * 60)) },
  });
});
