import type { PeerRoot } from '../peers/peer.js';
import type { Measurement } from '../report/result.js';
import { dropCaches, syncVolume } from '../runner/drop-caches.js';
import type { Sample } from '../runner/sample.js';
import type { Parts, RunContext, Scenario, Variant } from '../scenarios/scenario.js';
import { orderOfRound } from './rotation.js';
import type { PeerSlot } from './slots.js';

/** A slot with its root. */
export interface OpenSlot {
  readonly slot: PeerSlot;
  readonly root: PeerRoot;
}

export interface MeasureOptions extends Omit<RunContext, 'peer' | 'slot' | 'variant'> {
  readonly slots: readonly OpenSlot[];
  readonly reference: string;
  readonly again: string;
  readonly rounds: number;
  /** A path on the volume. */
  readonly volume: string;
  /** A slot whose first run takes longer is not run again: what is ten times slower needs no fine measurement. */
  readonly onceOnlyNs: number;
  readonly onRound: (round: number) => void;
}

interface Recorded {
  readonly values: (number | null)[];
  requests?: Readonly<Record<string, number>>;
}

type Requests = ReadonlyMap<string, number> | undefined;

function requestsBetween(before: Requests, after: Requests): Readonly<Record<string, number>> | undefined {
  if (before === undefined || after === undefined) return undefined;
  const counts = [...after].map(([name, count]): [string, number] => [name, count - (before.get(name) ?? 0)]);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** What a variant does around each timed run; docs/performance.md says why. */
class Measuring {
  readonly #scenario: Scenario;
  readonly #variant: Variant;
  readonly #options: MeasureOptions;
  /** By part (empty where a run has none), then by slot. */
  readonly #recorded = new Map<string, { readonly slots: Map<string, Recorded>; work: Sample['work'] }>();
  /** What the first run of a slot took. */
  readonly #first = new Map<string, number>();

  constructor(scenario: Scenario, variant: Variant, options: MeasureOptions) {
    this.#scenario = scenario;
    this.#variant = variant;
    this.#options = options;
  }

  async measure(): Promise<Measurement[]> {
    const { slots, rounds, signal } = this.#options;
    try {
      for (const open of slots) await this.#begin(open);
      for (let round = 0; round < rounds; round++) {
        this.#options.onRound(round);
        for (const open of orderOfRound(slots, round)) {
          signal.throwIfAborted();
          if (this.#isTooSlow(open)) this.#leaveOut(open);
          else await this.#runOnce(open);
        }
      }
    } finally {
      for (const open of slots) await this.#end(open);
    }
    return [...this.#recorded].map(([part, { slots: recorded, work }]) => ({
      scenario: this.#scenario.name,
      variant: [part, this.#variant.name].filter((name) => name !== '').join(', '),
      unit: this.#scenario.unit ?? 'ns',
      per: this.#scenario.per ?? null,
      work,
      reference: this.#options.reference,
      again: this.#options.again,
      samples: slots.map(({ slot }) => ({ slot: slot.name, ...(recorded.get(slot.name) ?? { values: [] }) })),
    }));
  }

  async #begin(open: OpenSlot): Promise<void> {
    const { ready } = this.#variant;
    if (ready === 'warm' || ready === 'used') await open.root.mount();
    if (ready !== 'fresh' && ready !== 'cold') await this.#scenario.setUp?.(open.root, this.#contextOf(open));
    // Once here and once before each timed run: a first pass leaves work for the second (FUSE asks for the attributes
    // anew of what it has read, because reading changes the atime).
    if (ready === 'warm') await this.#scenario.run(open.root, this.#contextOf(open));
  }

  async #end(open: OpenSlot): Promise<void> {
    const { ready } = this.#variant;
    await this.#scenario.tearDown?.(open.root, this.#contextOf(open));
    await open.root.unmount();
    const isLast = this.#scenario.variants.at(-1) === this.#variant;
    if (ready === 'fresh' || (this.#scenario.changesRoot === true && isLast)) await open.root.reset();
  }

  async #runOnce(open: OpenSlot): Promise<void> {
    const { root } = open;
    const { volume, signal } = this.#options;
    const context = this.#contextOf(open);
    switch (this.#variant.ready) {
      case 'cold':
        // Only the measured root is mounted, newly, so that none of its inodes and dentries is left. Caches are dropped after the
        // mount, so that nothing is left that mounting read; then the programs are loaded again.
        await root.mount();
        try {
          await dropCaches(volume, signal);
          await (this.#scenario.load?.(context) ?? context.driver.run(['nothing'], signal));
          await this.#record(open, context);
        } finally {
          await root.unmount();
        }
        break;
      case 'warm':
        await this.#scenario.prepare?.(root, context);
        await this.#scenario.run(root, context);
        await this.#record(open, context);
        break;
      case 'used':
        await this.#scenario.prepare?.(root, context);
        await syncVolume(volume, signal);
        await this.#record(open, context);
        break;
      case 'fresh':
        await root.reset();
        await root.mount();
        try {
          await this.#scenario.prepare?.(root, context);
          await syncVolume(volume, signal);
          await this.#record(open, context);
        } finally {
          await root.unmount();
        }
        break;
      case 'own':
        await this.#scenario.prepare?.(root, context);
        await this.#record(open, context, { ownMounts: true });
        break;
    }
  }

  async #record(open: OpenSlot, context: RunContext, { ownMounts = false } = {}): Promise<void> {
    const { root, slot } = open;
    const before = ownMounts ? undefined : await root.requests?.();
    const ran = await this.#scenario.run(root, context);
    const requests = requestsBetween(before, ownMounts ? undefined : await root.requests?.());
    const parts: Parts = 'value' in ran ? new Map([['', ran]]) : ran;
    for (const [part, { value, work }] of parts) {
      const recorded = this.#recorded.get(part) ?? { slots: new Map<string, Recorded>(), work };
      this.#recorded.set(part, recorded);
      checkWork(this.#scenario.name, slot.name, work, recorded.work);
      const entry = recorded.slots.get(slot.name) ?? { values: [] };
      recorded.slots.set(slot.name, entry);
      entry.values.push(value);
      // Of one run as a whole, so only where there is but one part.
      if (requests !== undefined && part === '') entry.requests = requests;
    }
    if (!this.#first.has(slot.name)) this.#first.set(slot.name, [...parts.values()].reduce((sum, { value }) => sum + value, 0));
  }

  #isTooSlow({ slot }: OpenSlot): boolean {
    const { reference, again, onceOnlyNs } = this.#options;
    const isCompared = [reference, again].includes(slot.name);
    return !isCompared && (this.#scenario.unit ?? 'ns') === 'ns' && (this.#first.get(slot.name) ?? 0) > onceOnlyNs;
  }

  #leaveOut({ slot }: OpenSlot): void {
    for (const { slots } of this.#recorded.values()) slots.get(slot.name)?.values.push(null);
  }

  #contextOf({ slot }: OpenSlot): RunContext {
    const { driver, input, quick, checkout, cacheFolder, emptyFolder, signal } = this.#options;
    return { driver, input, quick, checkout, cacheFolder, emptyFolder, signal, peer: slot.of, slot: slot.name, variant: this.#variant };
  }
}

/**
 * Measures one variant of one scenario in rounds: in each round every slot once, in rotated order.
 *
 * @returns one measurement for each part of a run @throws Error when a slot did other work than the others
 */
export function measure(scenario: Scenario, variant: Variant, options: MeasureOptions): Promise<Measurement[]> {
  return new Measuring(scenario, variant, options).measure();
}

function checkWork(scenario: string, slot: string, done: Sample['work'], expected: Sample['work']): void {
  const differs = (name: string): boolean => done[name] !== expected[name];
  const name = [...new Set([...Object.keys(done), ...Object.keys(expected)])].find(differs);
  if (name === undefined) return;
  throw new Error(`${scenario}: ${slot} did other work than the others: ${name} ${done[name] ?? 'none'}, not ${expected[name] ?? 'none'}`);
}
