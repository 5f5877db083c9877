import { describe, expect, test } from 'vitest';
import { measure, type MeasureOptions } from '../../../bench/runner/measure.js';
import { Driver } from '../../../bench/runner/driver.js';
import type { Sample, Scenario } from '../../../bench/scenarios/scenario.js';

const NO_DRIVER = new Driver('/nonexistent');

/** Warm runs only: cold ones need a kernel to drop caches in. */
function bench(run: (root: string) => Sample): { log: string[]; scenario: Scenario; options: MeasureOptions } {
  const log: string[] = [];
  const scenario: Scenario = {
    name: 'fake',
    what: '',
    meaning: '',
    caches: ['warm'],
    changesRoot: false,
    run: async (root) => {
      log.push(`run ${root}`);
      return run(root);
    },
  };
  const slots = ['a', 'b'].map((name) => {
    let answered = 0;
    return {
      slot: { name, peer: name, role: 'peer' as const },
      root: {
        path: name,
        mount: async () => { log.push(`mount ${name}`); },
        unmount: async () => { log.push(`unmount ${name}`); },
        mode: async () => ({ caching: '', durability: '' }),
        ...(name === 'b' && { requests: async () => new Map([['open', (answered += 5)], ['statfs', 2]]) }),
      },
    };
  });
  const options = {
    slots, runs: 2, volume: '/nonexistent', emptyFolder: '/nonexistent', driver: NO_DRIVER, signal: new AbortController().signal, onRound: () => undefined,
  };
  return { log, scenario, options };
}

describe('measure, warm', () => {
  test('loads each root, then runs it once untimed and once timed in each round, in rotated order', async () => {
    const { log, scenario, options } = bench(() => ({ ns: 10, work: { files: 3 } }));
    const measurement = await measure(scenario, 'warm', options);
    expect(log).toEqual([
      'mount a', 'run a', 'mount b', 'run b',
      'run a', 'run a', 'run b', 'run b',
      'run b', 'run b', 'run a', 'run a',
      'unmount a', 'unmount b',
    ]);
    expect(measurement).toEqual({
      scenario: 'fake',
      cache: 'warm',
      work: { files: 3 },
      samples: [{ slot: 'a', ns: [10, 10] }, { slot: 'b', ns: [10, 10], requests: { open: 5 } }],
    });
  });

  test('a peer that does less work than the others is an error, and all is unmounted', async () => {
    const { log, scenario, options } = bench((root) => ({ ns: 10, work: { bytes: root === 'a' ? 100 : 99 } }));
    await expect(measure(scenario, 'warm', options)).rejects.toThrow('b did other work than the others: bytes 99, not 100');
    expect(log.slice(-2)).toEqual(['unmount a', 'unmount b']);
  });

  test('an interrupt ends it between two runs', async () => {
    const interrupt = new AbortController();
    let left = 4; // both loaded, and the first one timed
    const { log, scenario, options } = bench(() => {
      if (--left === 0) interrupt.abort(new Error('enough'));
      return { ns: 10, work: {} };
    });
    await expect(measure(scenario, 'warm', { ...options, signal: interrupt.signal })).rejects.toThrow('enough');
    expect(log).toEqual(['mount a', 'run a', 'mount b', 'run b', 'run a', 'run a', 'unmount a', 'unmount b']);
  });
});
