import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LARGE_FILE, MIB_FILES } from '../inputs/all.js';
import { FRESH, type Scenario } from './scenario.js';

export const importRoot: Scenario = {
  name: 'import',
  group: 'store',
  what: '`templatefs template import` of a tar of a Debian root, against tar x on the same file system; all of it, Node.js included',
  meaning: 'how long a new template takes',
  durability: 'templatefs: the template is on disk when the command ends; tar x: in memory only',
  variants: [{ name: '', ready: 'own' }],
  input: 'debian',
  weight: 'heavy',
  reference: 'host',
  only: ['host', 'templatefs'],
  run: async (_root, { peer, driver, input, slot, checkout, signal }) => {
    const folder = join(input.places.volume, 'imported', slot);
    const tar = input.tar ?? (await input.unpacked());
    await mkdir(folder, { recursive: true });
    try {
      if (peer.name === 'host') return await driver.run(['run', 'tar', '-x', '--xattrs', '--numeric-owner', '-p', '-f', tar, '-C', folder], signal);
      const store = join(folder, 'store');
      const sample = await driver.run(['run', join(checkout, 'bin/templatefs'), '--store', store, 'template', 'import', 'imported', tar], signal);
      if ((await readdir(join(store, 'trees'))).length !== 1) throw new Error('the import has made no tree');
      return sample;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

const DURABILITY = 'what each peer says above: overlayfs fsyncs the copy, templatefs what it copies, fuse-overlayfs and unionfs-fuse nothing';

export const copyUpMib: Scenario = {
  name: 'copy-up-1m',
  group: 'store',
  what: 'the first byte is written to files of 1 MiB of the template: open, write, close',
  meaning: 'configuration, small databases: what a container changes first',
  durability: DURABILITY,
  variants: [FRESH],
  input: 'data',
  weight: 'medium',
  per: 'files',
  needs: ['copy-on-write'],
  also: ['overlayfs-metacopy', 'overlayfs-volatile'],
  run: async (root, { driver, input, quick, signal }) => {
    const list = await input.list('mib', quick ? 16 : 64, ['-path', `*/${MIB_FILES}/*`, '-type', 'f']);
    return driver.run(['write-first', root.path, list], signal);
  },
};

export const copyUpLarge: Scenario = {
  name: 'copy-up-1g',
  group: 'store',
  what: 'the first byte is written to a file of 1 GiB of the template (--quick: 128 MiB)',
  meaning: 'the image of a virtual machine or a database that comes with the template',
  durability: DURABILITY,
  variants: [FRESH],
  input: 'large',
  weight: 'heavy',
  needs: ['copy-on-write'],
  run: async (root, { driver, input, signal }) => {
    const list = await input.list('large', 1, ['-path', `*/${LARGE_FILE}`]);
    return driver.run(['write-first', root.path, list], signal);
  },
};

export const STORE: readonly Scenario[] = [importRoot, copyUpMib, copyUpLarge];
