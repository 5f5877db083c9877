import { expect, test } from 'vitest';
import { outcomeOf, rivalOutcomeOf, TARGETS } from '../../../bench/report/targets.js';
import { summarizeAll } from '../../../bench/report/tables.js';
import type { MeasurementSummary } from '../../../bench/report/summarize.js';
import type { Measurement } from '../../../bench/report/result.js';
import { SCENARIOS } from '../../../bench/scenarios/all.js';
import { measurementOf, resultOf } from './bench-fakes.js';

function summaries(measurements: readonly Measurement[], group?: string): MeasurementSummary[] {
  return summarizeAll(resultOf(measurements, group), 'templatefs');
}

function opened(templatefs: number): Measurement {
  return measurementOf({ overlayfs: [10], 'overlayfs-again': [10], 'fuse-overlayfs': [40], templatefs: [templatefs] }, { scenario: 'open-close', variant: 'warm' });
}

test.each([[20, true], [21, false]])('a ratio of %d to 10 against a target of 2', (templatefs, met) => {
  const all = summaries([opened(templatefs)]);
  const [summary] = all;
  if (summary === undefined) throw new Error('no summary');
  expect(outcomeOf(summary, all, 'templatefs')).toMatchObject({ wanted: '2.00', met });
});

test('a target of bytes needs no reference', () => {
  const bytes = measurementOf({ overlayfs: [0.3], 'overlayfs-again': [0.3], templatefs: [0.5] }, { scenario: 'engine-memory', variant: 'idle', unit: 'bytes' });
  const all = summaries([bytes]);
  expect(all.map((summary) => outcomeOf(summary, all, 'templatefs'))).toMatchObject([{ wanted: '307 KiB', found: '488 KiB', met: false }]);
});

test('a target against the same scenario with fewer containers', () => {
  const at = (variant: string, value: number): Measurement => measurementOf({ overlayfs: [1], 'overlayfs-again': [1], templatefs: [value] }, { scenario: 'containers', variant });
  const all = summaries([at('mount, 1 container', 10), at('mount, 1000 containers', 11)]);
  expect(all.map((summary) => outcomeOf(summary, all, 'templatefs'))).toEqual([
    undefined,
    { title: 'containers, mount, 1000 containers', wanted: '1.20 × mount, 1 container', found: '1.10', met: true },
  ]);
});

test('fuse-overlayfs is to be beaten, and clearly where it is about metadata', () => {
  expect(summaries([opened(24)], 'work').map(rivalOutcomeOf)).toMatchObject([{ wanted: '0.90', found: '0.60', met: true }]);
  expect(summaries([opened(24)], 'metadata').map(rivalOutcomeOf)).toMatchObject([{ wanted: '0.50', met: false }]);
});

/** Names of parts stand in the scenario's code only; the rest of a variant's name must be one that it has. */
test.each(TARGETS.map((target) => [`${target.scenario}, ${target.variant}`, target] as const))('%s is a target of a scenario that there is', (_title, target) => {
  const scenario = SCENARIOS.find(({ name }) => name === target.scenario);
  expect(scenario).toBeDefined();
  for (const wanted of [target.variant, typeof target.against === 'object' ? target.against.variant : target.variant]) {
    expect(scenario?.variants.some(({ name }) => name === wanted || name === '' || wanted.endsWith(`, ${name}`))).toBe(true);
  }
});
