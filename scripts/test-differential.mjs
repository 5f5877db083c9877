// npm run test:differential: random operations on a root and on a plain ext4 copy of its template, everything compared.
//
//   npm run test:differential -- [--operations N] [--seed N] [--jobs N] [--replay FILE] [--help]

import { join } from 'node:path';
import { main, passSignalsOn, ROOT, run } from './checkout.mjs';
import { setup } from './setup.mjs';

passSignalsOn();
await main(async () => {
  await setup();
  return run('python3', [join(ROOT, 'test/mount/differential'), ...process.argv.slice(2)]);
});
