import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DATA_FILE, DATA_FILE_MIB as FILE_MIB } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { dropCaches } from '../runner/drop-caches.js';
import { runProgram } from '../runner/run-program.js';
import type { Sample } from '../runner/sample.js';
import type { RunContext, Scenario, Variant } from './scenario.js';

const LEVELS: readonly (Variant & { readonly containers: number })[] = [1, 10, 50].map((containers) => ({
  name: containers === 1 ? '1 container' : `${containers} containers`,
  ready: 'own',
  containers,
}));

/** Where each root has pages of its own, so many would take more memory than a machine has. */
const MOST_UNSHARED = 10;
const SHARING = ['overlayfs', 'templatefs'];

const extra = new Map<string, PeerRoot[]>();

export const pageCache: Scenario = {
  name: 'page-cache',
  group: 'memory',
  what: 'memory that the page cache takes when so many containers have read the same 300 MiB, each page of memory counted once',
  meaning: 'how many containers fit on a node',
  durability: 'nothing is written',
  variants: LEVELS,
  input: 'data',
  unit: 'bytes',
  weight: 'counted',
  only: ['overlayfs', 'fuse-overlayfs', 'templatefs'],
  setUp: async (root, { variant, peer, input, slot }) => {
    const containers = LEVELS.find(({ name }) => name === variant.name)?.containers ?? 1;
    const roots = [root];
    extra.set(slot, roots);
    const wanted = SHARING.includes(peer.name) ? containers : Math.min(containers, MOST_UNSHARED);
    while (roots.length < wanted) roots.push(await peer.makeRoot(input, `${slot}-cache-${roots.length}`));
  },
  run: (_root, context) => readInAll(extra.get(context.slot) ?? [], context),
  tearDown: async (root, { slot }) => {
    for (const made of extra.get(slot) ?? []) {
      await made.unmount();
      if (made !== root) await made.discard();
    }
    extra.delete(slot);
  },
};

/** All roots show one file; the files of the volume that may stand behind it are counted, too: some peers cache both. */
async function filesToCount(roots: readonly PeerRoot[], { input, slot, signal }: RunContext): Promise<string> {
  const { volume, scratch } = input.places;
  const behind = (await runProgram('find', [volume, '-xdev', '-type', 'f', '-size', `${FILE_MIB}M`], { signal })).split('\n').filter((path) => path !== '');
  const list = join(scratch, `resident-${slot}`);
  await writeFile(list, [...roots.map((root) => join(root.path, DATA_FILE)), ...behind].map((path) => `${path}\n`).join(''));
  return list;
}

async function readInAll(roots: readonly PeerRoot[], context: RunContext): Promise<Sample> {
  const { driver, input, signal } = context;
  try {
    for (const root of roots) await root.mount();
    const list = await filesToCount(roots, context);
    await dropCaches(input.places.volume, signal);
    for (const root of roots) await driver.run(['read', join(root.path, DATA_FILE), String(128 * 1024), 'cold'], signal);
    const { work } = await driver.run(['resident', list], signal);
    return { value: work['bytes'] ?? 0, work: {} };
  } finally {
    for (const root of roots) await root.unmount();
  }
}
