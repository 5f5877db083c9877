import { describe, expect, test } from 'vitest';
import { Input } from '../../../bench/inputs/input.js';
import { measure, type MeasureOptions } from '../../../bench/measure/measure.js';
import { Driver } from '../../../bench/runner/driver.js';
import type { Sample } from '../../../bench/runner/sample.js';
import { USED, WARM, type Parts, type Scenario } from '../../../bench/scenarios/scenario.js';
import { StorePaths } from '../../../src/core/store-paths.js';
import { fakePeer, fakeRoot } from './bench-fakes.js';

interface Bench {
  readonly log: string[];
  readonly scenario: Scenario;
  readonly options: MeasureOptions;
}

/** Warm and own runs only: others need a kernel that drops caches. */
function bench(run: (root: string) => Sample | Parts, more: Partial<Scenario> = {}): Bench {
  const log: string[] = [];
  const scenario: Scenario = {
    name: 'fake', group: 'work', what: '', meaning: '', durability: '', variants: [WARM], input: 'debian',
    run: async (root) => {
      log.push(`run ${root.path}`);
      return run(root.path);
    },
    ...more,
  };
  let answered = 0;
  const count = (): ReadonlyMap<string, number> => new Map([['open', (answered += 5)], ['statfs', 2]]);
  const slots = ['a', 'a-again', 'b'].map((name) => ({
    slot: { name, peer: name, of: fakePeer(name) },
    root: fakeRoot(name, log, name === 'b' ? count : undefined),
  }));
  const signal = new AbortController().signal;
  const places = { volume: '/nonexistent', scratch: '/nonexistent', store: new StorePaths('/nonexistent'), say: () => undefined, signal };
  const options: MeasureOptions = {
    slots, reference: 'a', again: 'a-again', rounds: 2, volume: '/nonexistent', emptyFolder: '/nonexistent', checkout: '/nonexistent', cacheFolder: '/nonexistent',
    input: new Input({ name: 'fake', fill: async () => undefined }, places), driver: new Driver('/nonexistent'), quick: false, onceOnlyNs: 1000, signal, onRound: () => undefined,
  };
  return { log, scenario, options };
}

describe('measure, warm', () => {
  test('loads each root, then runs it once untimed and once timed in each round, in rotated order', async () => {
    const { log, scenario, options } = bench(() => ({ value: 10, work: { files: 3 } }));
    const measurements = await measure(scenario, WARM, { ...options, slots: options.slots.filter(({ slot }) => slot.name !== 'a-again') });
    expect(log).toEqual([
      'mount a', 'run a', 'mount b', 'run b',
      'run a', 'run a', 'run b', 'run b',
      'run b', 'run b', 'run a', 'run a',
      'unmount a', 'unmount b',
    ]);
    expect(measurements).toEqual([{
      scenario: 'fake', variant: 'warm', unit: 'ns', per: null, work: { files: 3 }, reference: 'a', again: 'a-again',
      samples: [{ slot: 'a', values: [10, 10] }, { slot: 'b', values: [10, 10], requests: { open: 5 } }],
    }]);
  });

  test('a peer that does less work than the others is an error, and all is unmounted', async () => {
    const { log, scenario, options } = bench((root) => ({ value: 10, work: { bytes: root === 'a' ? 100 : 99 } }));
    await expect(measure(scenario, WARM, options)).rejects.toThrow('did other work than the others: bytes 99, not 100');
    expect(log.slice(-3)).toEqual(['unmount a', 'unmount a-again', 'unmount b']);
  });

  test('an interrupt ends it between two runs', async () => {
    const interrupt = new AbortController();
    let left = 5; // all three loaded, and the first one timed
    const { log, scenario, options } = bench(() => {
      if (--left === 0) interrupt.abort(new Error('enough'));
      return { value: 10, work: {} };
    });
    await expect(measure(scenario, WARM, { ...options, signal: interrupt.signal })).rejects.toThrow('enough');
    expect(log.slice(6)).toEqual(['run a', 'run a', 'unmount a', 'unmount a-again', 'unmount b']);
  });
});

describe('measure, own', () => {
  const OWN = { name: '', ready: 'own' } as const;

  test('each part of a run is a measurement of its own', async () => {
    const { scenario, options } = bench(() => new Map([['first', { value: 1, work: {} }], ['second', { value: 2, work: {} }]]));
    const measurements = await measure(scenario, { ...OWN, name: '10 files' }, options);
    expect(measurements.map(({ variant }) => variant)).toEqual(['first, 10 files', 'second, 10 files']);
    expect(measurements[1]?.samples).toEqual(['a', 'a-again', 'b'].map((slot) => ({ slot, values: [2, 2] })));
  });

  test('a slot that is very slow runs once; what is compared with always runs', async () => {
    const { log, scenario, options } = bench(() => ({ value: 2000, work: {} }));
    const [measurement] = await measure(scenario, OWN, { ...options, rounds: 3 });
    expect(measurement?.samples).toEqual([
      { slot: 'a', values: [2000, 2000, 2000] },
      { slot: 'a-again', values: [2000, 2000, 2000] },
      { slot: 'b', values: [2000, null, null] },
    ]);
    expect(log.filter((line) => line === 'run b')).toHaveLength(1);
  });

  test('setUp comes first, tearDown also after an error, and changes are taken back after the last variant', async () => {
    const log: string[] = [];
    const more: Partial<Scenario> = {
      variants: [OWN, USED],
      changesRoot: true,
      setUp: async (root) => void log.push(`set up ${root.path}`),
      tearDown: async (root) => void log.push(`tear down ${root.path}`),
    };
    const failing = bench(() => { throw new Error('broken'); }, more);
    const slots = failing.options.slots.slice(0, 1);
    await expect(measure(failing.scenario, OWN, { ...failing.options, slots })).rejects.toThrow('broken');
    expect(log).toEqual(['set up a', 'tear down a']);
    expect(failing.log).toEqual(['run a', 'unmount a']);
    const last = bench(() => ({ value: 1, work: {} }), { ...more, variants: [OWN] });
    await measure(last.scenario, OWN, { ...last.options, slots, rounds: 1 });
    expect(failing.log.at(-1)).toBe('reset a');
  });
});
