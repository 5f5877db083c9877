import type { PeerRoot } from '../peers/peer.js';
import type { Measurement, Slot } from '../report/result.js';
import type { CacheState, RunContext, Sample, Scenario } from '../scenarios/scenario.js';
import { dropCaches } from './drop-caches.js';
import { orderOfRound } from './rotation.js';

/** A slot with its root. */
export interface OpenSlot {
  readonly slot: Slot;
  readonly root: PeerRoot;
}

export interface MeasureOptions extends RunContext {
  readonly slots: readonly OpenSlot[];
  readonly runs: number;
  /** A path on the volume. */
  readonly volume: string;
  /** An empty folder elsewhere: what programs need of themselves is loaded by running them on it. */
  readonly emptyFolder: string;
  readonly onRound: (round: number) => void;
}

interface Recorded {
  readonly ns: number[];
  requests?: Readonly<Record<string, number>>;
}

type Requests = ReadonlyMap<string, number> | undefined;

function requestsBetween(before: Requests, after: Requests): Readonly<Record<string, number>> | undefined {
  if (before === undefined || after === undefined) return undefined;
  const counts = [...after].map(([name, count]): [string, number] => [name, count - (before.get(name) ?? 0)]);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/**
 * Measures one scenario in one state of the caches, in rounds: in each round every slot once, in rotated order.
 *
 * Cold: only the measured root is mounted, newly for each run, so that none of its inodes and dentries is left; caches are
 * dropped after the mount, so that nothing is left that mounting read; then the programs are loaded again.
 *
 * Warm: all roots stay mounted. Each is gone through once after the mount, and again right before each timed run, so
 * that what other slots or the kernel's reclaim pushed out in between is back. Once would not do: a first pass leaves
 * work for the second (FUSE asks for the attributes anew of what it has read, because reading changes the atime).
 *
 * @throws FAILED when a slot did other work than the others
 */
export async function measure(scenario: Scenario, cache: CacheState, options: MeasureOptions): Promise<Measurement> {
  const { slots, runs, signal } = options;
  const recorded = new Map<string, Recorded>(slots.map(({ slot }) => [slot.name, { ns: [] }]));
  let work: Sample['work'] | undefined;

  const record = async ({ slot, root }: OpenSlot): Promise<void> => {
    const before = await root.requests?.();
    const sample = await scenario.run(root.path, options);
    const requests = requestsBetween(before, await root.requests?.());
    work ??= sample.work;
    checkWork(scenario.name, slot, sample.work, work);
    const entry = recorded.get(slot.name);
    if (entry === undefined) throw new Error(`unknown slot ${slot.name}`);
    entry.ns.push(sample.ns);
    if (requests !== undefined) entry.requests = requests;
  };

  try {
    if (cache === 'warm') for (const { root } of slots) await load(scenario, options, root);
    for (let round = 0; round < runs; round++) {
      options.onRound(round);
      for (const open of orderOfRound(slots, round)) {
        signal.throwIfAborted();
        if (cache === 'cold') await runCold(scenario, options, open, record);
        else await runWarm(scenario, options, open, record);
      }
    }
  } finally {
    if (cache === 'warm') for (const { root } of slots) await root.unmount();
  }
  return {
    scenario: scenario.name,
    cache,
    work: work ?? {},
    samples: slots.map(({ slot }) => ({ slot: slot.name, ...(recorded.get(slot.name) ?? { ns: [] }) })),
  };
}

type RecordSample = (open: OpenSlot) => Promise<void>;

async function runCold(scenario: Scenario, options: MeasureOptions, open: OpenSlot, record: RecordSample): Promise<void> {
  await open.root.mount();
  try {
    await dropCaches(options.volume, options.signal);
    await scenario.run(options.emptyFolder, options);
    await record(open);
  } finally {
    await open.root.unmount();
  }
}

async function load(scenario: Scenario, options: MeasureOptions, root: PeerRoot): Promise<void> {
  await root.mount();
  await scenario.run(root.path, options);
}

async function runWarm(scenario: Scenario, options: MeasureOptions, open: OpenSlot, record: RecordSample): Promise<void> {
  await scenario.run(open.root.path, options);
  await record(open);
}

function checkWork(scenario: string, slot: Slot, done: Sample['work'], expected: Sample['work']): void {
  const differs = (name: string): boolean => done[name] !== expected[name];
  const name = [...new Set([...Object.keys(done), ...Object.keys(expected)])].find(differs);
  if (name === undefined) return;
  throw new Error(`${scenario}: ${slot.name} did other work than the others: ${name} ${done[name] ?? 'none'}, not ${expected[name] ?? 'none'}`);
}
