import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WORK_FOLDER, type InputName } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import type { Sample } from '../runner/sample.js';
import { dropCaches } from '../runner/drop-caches.js';
import type { Parts, RunContext, Scenario, Variant } from './scenario.js';

const ONLY = ['overlayfs', 'templatefs'];

async function time(work: () => Promise<void>): Promise<Sample> {
  const start = performance.now();
  await work();
  return { value: (performance.now() - start) * 1e6, work: {} };
}

/** Mounted with nothing in memory; then one name far inside is looked up; unmounted. */
async function mountAndLook(root: PeerRoot, name: string, { driver, input, signal }: RunContext): Promise<Parts> {
  await dropCaches(input.places.volume, signal);
  try {
    const mounted = await time(() => root.mount());
    const looked = await driver.run(['run', 'stat', join(root.path, name)], signal);
    return new Map([['mount', mounted], ['first look', looked], ['unmount', await time(() => root.unmount())]]);
  } finally {
    await root.unmount();
  }
}

function treeSize(input: InputName, files: string, variant: Omit<Variant, 'name' | 'ready'> = {}): Scenario {
  return {
    name: `tree-of-${files}`,
    group: 'scale',
    what: `a root on a template of ${files} files is mounted with nothing in memory, a name is looked up, it is unmounted`,
    meaning: 'cost follows change: a large template must not make containers slow',
    durability: 'nothing is written',
    variants: [{ name: '', ready: 'own', ...variant }],
    input,
    weight: 'medium',
    only: ONLY,
    run: (root, context) => mountAndLook(root, 'usr/lib/bench/d50/f50', context),
  };
}

interface Level extends Variant {
  readonly folders: number;
}

/** A hundred files a folder. */
const LEVELS: readonly Level[] = [
  { name: '1,000 entries', ready: 'own', folders: 10 },
  { name: '100,000 entries', ready: 'own', folders: 1000 },
  { name: '1,000,000 entries', ready: 'own', folders: 10_000, fullOnly: true },
];

const privateArea: Scenario = {
  name: 'private-area',
  group: 'scale',
  what: 'a root with so many changed entries is mounted with nothing in memory, one of them is looked up, it is unmounted',
  meaning: 'a container with a large database or mail store must still start and stop at once',
  durability: 'nothing is written',
  variants: LEVELS,
  input: 'files-10k',
  weight: 'medium',
  only: ONLY,
  changesRoot: true,
  setUp: async (root, { variant, driver, signal }) => {
    const level = LEVELS.find(({ name }) => name === variant.name);
    if (level === undefined || root.changes === undefined) throw new Error(`no level ${variant.name}`);
    const folder = `changed-${level.folders}`;
    await root.mount();
    await mkdir(join(root.path, WORK_FOLDER, folder));
    await root.unmount();
    // Not through the root: it would take minutes, and what is measured is how they are found, not how they are made.
    await driver.run(['make-tree', join(root.changes, WORK_FOLDER, folder), String(level.folders), '100'], signal);
  },
  run: (root, context) => {
    const folders = LEVELS.find(({ name }) => name === context.variant.name)?.folders ?? 0;
    return mountAndLook(root, join(WORK_FOLDER, `changed-${folders}`, `d${folders - 1}`, 'f50'), context);
  },
};

export const SIZES: readonly Scenario[] = [
  treeSize('files-10k', '10,000'),
  treeSize('files-100k', '100,000'),
  treeSize('files-1m', '1,000,000', { fullOnly: true }),
  privateArea,
];
