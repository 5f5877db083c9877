import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER } from '../inputs/all.js';
import { syncVolume } from '../runner/drop-caches.js';
import { removeTree } from '../runner/remove-tree.js';
import { SLOW_IN_JAVASCRIPT, USED, type Scenario } from './scenario.js';

/** tar reads the archive from outside of the volume; it is in memory after the first round. */
export const unpack: Scenario = {
  name: 'unpack',
  group: 'work',
  what: 'tar x of a Debian root into a folder of the root; rm -rf of it',
  meaning: 'unpacking archives, restoring a backup; removing node_modules, caches, old releases',
  durability: 'in memory only; on disk after some seconds',
  variants: [USED],
  input: 'debian',
  weight: 'heavy',
  without: SLOW_IN_JAVASCRIPT,
  changesRoot: true,
  run: async (root, { driver, input, signal }) => {
    const place = join(root.path, WORK_FOLDER, 'unpacked');
    await removeTree(place);
    await mkdir(place);
    const unpacked = await driver.run(['run', 'tar', '-x', '--numeric-owner', '-p', '-f', input.tar ?? '', '-C', place], signal);
    await syncVolume(input.places.volume, signal);
    return new Map([['tar x', unpacked], ['rm -rf', await driver.run(['run', 'rm', '-rf', place], signal)]]);
  },
};
