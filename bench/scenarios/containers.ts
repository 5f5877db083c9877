import type { PeerRoot } from '../peers/peer.js';
import type { Sample } from '../runner/sample.js';
import type { Parts, RunContext, Scenario, Variant } from './scenario.js';

interface Level extends Variant {
  readonly containers: number;
}

const LEVELS: readonly Level[] = [1, 10, 100, 1000].map((containers) => ({
  name: containers === 1 ? '1 container' : `${containers} containers`,
  ready: 'own',
  containers,
  ...(containers === 1000 && { fullOnly: true }),
}));

/** How many containers one timed run makes, mounts, unmounts and removes again beside those that there are. */
const AT_ONCE = 5;

/** Mounted containers of each slot; the next level adds to them. */
class Crowd {
  readonly #roots: PeerRoot[] = [];

  async growTo(count: number, { peer, input, slot, signal }: RunContext): Promise<void> {
    while (this.#roots.length < count) {
      signal.throwIfAborted();
      const root = await peer.makeRoot(input, `${slot}-crowd-${this.#roots.length}`);
      this.#roots.push(root);
      await root.mount();
    }
  }

  async end(): Promise<void> {
    for (let root = this.#roots.pop(); root !== undefined; root = this.#roots.pop()) {
      await root.unmount();
      await root.discard();
    }
  }
}

/** Does all three steps with some more containers beside those. */
async function timeSteps({ peer, input, slot }: RunContext): Promise<Parts> {
  const roots: PeerRoot[] = [];
  const parts = new Map<string, Sample>();
  const time = async (part: string, work: () => Promise<void>): Promise<void> => {
    const start = performance.now();
    await work();
    parts.set(part, { value: (performance.now() - start) * 1e6, work: { containers: AT_ONCE } });
  };
  try {
    await time('create', async () => {
      for (let at = 0; at < AT_ONCE; at++) roots.push(await peer.makeRoot(input, `${slot}-timed-${at}`));
    });
    await time('mount', async () => {
      for (const root of roots) await root.mount();
    });
    await time('unmount', async () => {
      for (const root of roots) await root.unmount();
    });
  } finally {
    for (const root of roots) {
      await root.unmount();
      await root.discard();
    }
  }
  return parts;
}

const crowds = new Map<string, Crowd>();

export const containers: Scenario = {
  name: 'containers',
  group: 'scale',
  what: 'a container is created, mounted and unmounted (until its processes have ended), beside so many that are mounted',
  meaning: 'whether a node with a thousand containers is slower than one with a single one',
  durability: 'create: a container of templatefs is on disk, overlayfs makes three folders, on disk after some seconds; else nothing is written',
  variants: LEVELS,
  input: 'files-10k',
  weight: 'medium',
  per: 'containers',
  only: ['overlayfs', 'fuse-overlayfs', 'templatefs'],
  setUp: async (_root, context) => {
    const crowd = crowds.get(context.slot) ?? new Crowd();
    crowds.set(context.slot, crowd);
    await crowd.growTo(LEVELS.find(({ name }) => name === context.variant.name)?.containers ?? 1, context);
  },
  run: (_root, context) => timeSteps(context),
  end: async () => {
    for (const crowd of crowds.values()) await crowd.end();
    crowds.clear();
  },
};
