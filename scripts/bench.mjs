// npm run bench: measures templatefs side by side with its peers. docs/performance.md explains the figures.
//
//   npm run bench -- [--quick] [--scenario NAME...] [--peer NAME...] [--runs N] [--json FILE] [--page FILE] [--document FILE]
//                    [--from FILE] [--tar FILE] [--list]

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf, main, mustRun, passSignalsOn, readStamp, ROOT, run, say, writeStamp } from './checkout.mjs';
import { setup } from './setup.mjs';

const STAMP = 'build/bench/.stamp';
const DRIVER = 'build/bench/driver';
const PROGRAM = 'build/bench/bench/main.js';

/** The benchmarks use the sources of src/ as well: both are compiled into one folder, beside the C++ driver. */
async function buildBench() {
  const sources = digestOf(['bench', 'src', 'tsconfig.json', 'package-lock.json']);
  if (readStamp(STAMP) === sources && existsSync(join(ROOT, DRIVER)) && existsSync(join(ROOT, PROGRAM))) return;
  say('Building the benchmarks');
  await mustRun(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'bench/tsconfig.json'], { name: 'tsc' });
  const driver = readdirSync(join(ROOT, 'bench/driver')).filter((name) => name.endsWith('.cc')).map((name) => `bench/driver/${name}`);
  await mustRun('g++', ['-std=c++20', '-O2', '-Wall', '-Wextra', '-Wshadow', '-o', DRIVER, ...driver]);
  writeStamp(STAMP, sources);
}

passSignalsOn();
await main(async () => {
  await setup({ packageGroups: ['run', 'build', 'bench'] });
  await buildBench();
  const args = [PROGRAM, ...process.argv.slice(2)];
  const env = {
    TEMPLATEFS_ENGINE: process.env.TEMPLATEFS_ENGINE ?? join(ROOT, 'build/Release/templatefs-engine'),
    TEMPLATEFS_TEMPLATES: process.env.TEMPLATEFS_TEMPLATES ?? join(ROOT, 'templates'),
  };
  // Without root only --list, --from and --help are of use, and need no namespace.
  if (process.getuid() !== 0) return run(process.execPath, args, { env });
  // In a mount namespace of its own: no other process on this host can come to hold one of the mounts by accident,
  // and whatever happens none is left on the host.
  return run('unshare', ['--mount', '--propagation', 'private', '--', process.execPath, ...args], { env, evenInterrupted: true });
});
