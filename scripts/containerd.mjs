// npm run test:containerd: the real containerd on the snapshotter; it, the snapshotter, and both are killed so often while images are pulled,
// run and removed. test/runtimes/containerd.test.ts says what must hold.
//
//   npm run test:containerd -- [--rounds N]        20 if not said

import { parseArgs } from 'node:util';
import { main, passSignalsOn, run, ScriptError } from './checkout.mjs';
import { setup } from './setup.mjs';

passSignalsOn();
await main(async () => {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '20' } } });
  if (!/^[1-9]\d{0,4}$/.test(values.rounds)) throw new ScriptError('--rounds takes a number above 0');
  await setup({ packageGroups: ['run', 'build', 'test', 'runtimes'] });
  return run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', 'test/runtimes/containerd.test.ts'], {
    stdin: 'ignore',
    env: { TEMPLATEFS_CONTAINERD_ROUNDS: values.rounds },
  });
});
