import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PeerRoot } from '../peers/peer.js';
import type { Scenario } from './scenario.js';

/** Of all processes together; what they share with others counts in part. */
function pssBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const kib = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return sum + Number(kib ?? NaN) * 1024;
  }, 0);
}

/** Mounted and idle all the time: the text of the program is in memory once for all, as on a node with containers. */
const NEIGHBOURS = 9;
/** What a process that has nothing to do gives back, it gives back by then. */
const SETTLE_MS = 2000;
const neighbours = new Map<string, PeerRoot[]>();

export const engineMemory: Scenario = {
  name: 'engine-memory',
  group: 'memory',
  what: `memory (PSS) of the processes that serve one root of 100,000 files beside ${NEIGHBOURS} more, mounted and not used, and after find has walked it, each time two seconds later; overlayfs has none`,
  meaning: 'what each container costs that is only there',
  durability: 'nothing is written',
  variants: [{ name: 'idle', ready: 'own' }, { name: 'after find', ready: 'own' }],
  input: 'files-100k',
  unit: 'bytes',
  weight: 'counted',
  reference: 'fuse-overlayfs',
  needs: ['daemon'],
  without: { 'fuse-native': 'copying 100,000 files takes long, and Node.js alone takes 40 MiB' },
  setUp: async (_root, { peer, input, slot }) => {
    const roots: PeerRoot[] = [];
    neighbours.set(slot, roots);
    for (let at = 0; at < NEIGHBOURS; at++) {
      const root = await peer.makeRoot(input, `${slot}-neighbour-${at}`);
      roots.push(root);
      await root.mount();
    }
  },
  run: async (root, { variant, driver, signal }) => {
    await root.mount();
    try {
      if (variant.name === 'after find') await driver.run(['run', 'find', root.path, '-ls'], signal);
      await sleep(SETTLE_MS);
      return { value: pssBytes(root.processes?.() ?? []), work: {} };
    } finally {
      await root.unmount();
    }
  },
  tearDown: async (_root, { slot }) => {
    for (const root of neighbours.get(slot) ?? []) {
      await root.unmount();
      await root.discard();
    }
    neighbours.delete(slot);
  },
};
