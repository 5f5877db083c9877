import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { runProgram } from '../runner/run-program.js';
import { SLOW_IN_JAVASCRIPT, USED, type RunContext, type Scenario } from './scenario.js';

function placeOf(root: PeerRoot): string {
  return join(root.path, WORK_FOLDER, 'unpacked');
}

async function unpackCommand(root: PeerRoot, { input }: RunContext): Promise<[string, ...string[]]> {
  const place = placeOf(root);
  await rm(place, { recursive: true, force: true });
  await mkdir(place);
  return ['tar', '-x', '--numeric-owner', '-p', '-f', input.tar ?? '', '-C', place];
}

/** tar's own process reads the archive from outside of the volume; it is in memory after the first round. */
export const unpack: Scenario = {
  name: 'unpack',
  group: 'work',
  what: 'tar x of a Debian root into a folder of the root',
  meaning: 'unpacking archives, installing software by hand, restoring a backup',
  durability: 'in memory only; on disk after some seconds',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_IN_JAVASCRIPT,
  changesRoot: true,
  run: async (root, context) => {
    const sample = await context.driver.run(['run', ...(await unpackCommand(root, context))], context.signal);
    return sample;
  },
};

export const rmRf: Scenario = {
  name: 'rm-rf',
  group: 'work',
  what: 'rm -rf of a Debian root that was unpacked into a folder of the root',
  meaning: 'make clean, removing node_modules, caches, old releases',
  durability: 'in memory only; on disk after some seconds',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_IN_JAVASCRIPT,
  changesRoot: true,
  prepare: async (root, context) => {
    const [program, ...args] = await unpackCommand(root, context);
    await runProgram(program, args, { signal: context.signal });
  },
  run: (root, { driver, signal }) => driver.run(['run', 'rm', '-rf', placeOf(root)], signal),
};
