import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATA_FILE } from '../inputs/all.js';
import type { PeerRoot } from '../peers/peer.js';
import { dropCaches } from '../runner/drop-caches.js';
import type { RunContext, Scenario, Variant } from './scenario.js';

const LEVELS: readonly (Variant & { readonly containers: number })[] = [1, 10, 50].map((containers) => ({
  name: containers === 1 ? '1 container' : `${containers} containers`,
  ready: 'own',
  containers,
}));

/** Where each root has pages of its own, so many would take more memory than a machine has. */
const MOST_UNSHARED = 10;
const SHARING = ['overlayfs', 'templatefs'];

function cachedBytes(): number {
  const kib = /^Cached:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  if (kib === undefined) throw new Error('/proc/meminfo does not say what is cached');
  return Number(kib) * 1024;
}

const extra = new Map<string, PeerRoot[]>();

export const pageCache: Scenario = {
  name: 'page-cache',
  group: 'memory',
  what: 'how much the page cache grows when so many containers read the same 300 MiB (from /proc/meminfo)',
  meaning: 'how many containers fit on a node',
  durability: 'nothing is written',
  variants: LEVELS,
  input: 'data',
  unit: 'bytes',
  weight: 'heavy',
  only: ['overlayfs', 'fuse-overlayfs', 'templatefs'],
  setUp: async (root, { variant, peer, input, slot }) => {
    const containers = LEVELS.find(({ name }) => name === variant.name)?.containers ?? 1;
    const roots = [root];
    extra.set(slot, roots);
    const wanted = SHARING.includes(peer.name) ? containers : Math.min(containers, MOST_UNSHARED);
    while (roots.length < wanted) roots.push(await peer.makeRoot(input, `${slot}-cache-${roots.length}`));
  },
  run: async (_root, context) => grow(extra.get(context.slot) ?? [], context),
  tearDown: async (root, { slot }) => {
    for (const made of extra.get(slot) ?? []) {
      await made.unmount();
      if (made !== root) await made.discard();
    }
    extra.delete(slot);
  },
};

async function grow(roots: readonly PeerRoot[], { driver, input, signal }: RunContext): Promise<{ value: number; work: Record<string, number> }> {
  try {
    for (const root of roots) await root.mount();
    await dropCaches(input.places.volume, signal);
    const before = cachedBytes();
    for (const root of roots) await driver.run(['read', join(root.path, DATA_FILE), String(128 * 1024), 'cold'], signal);
    return { value: Math.max(1, cachedBytes() - before), work: {} };
  } finally {
    for (const root of roots) await root.unmount();
  }
}
