import { describe, expect, test } from 'vitest';
import { formatDuration, formatFactor, formatPercent, formatRatio, formatValue, isWithinNoise } from '../../../bench/report/numbers.js';
import { renderMeasurement, renderOverview, renderResult, summarizeAll } from '../../../bench/report/tables.js';
import { summarize } from '../../../bench/report/summarize.js';
import { textTable } from '../../../bench/report/text-table.js';
import { measurementOf, resultOf } from './bench-fakes.js';

const MS = 1e6;
const PLAIN = measurementOf({ host: [80, 82, 81], overlayfs: [100, 104, 102], 'overlayfs-again': [101, 105, 103], templatefs: [50, 52, 51] });
const MEASUREMENT = {
  ...PLAIN,
  samples: PLAIN.samples.map((samples) => (samples.slot === 'templatefs' ? { ...samples, requests: { open: 12, release: 12, readdirplus: 30 } } : samples)),
};
const RESULT = resultOf([MEASUREMENT]);

describe('numbers', () => {
  test.each([
    [4.5, '4.5 ns'], [812, '812 ns'], [1530, '1.53 µs'], [999_700, '1.00 ms'], [1.234 * MS, '1.23 ms'], [9.996 * MS, '10.0 ms'],
    [81.24 * MS, '81.2 ms'], [99.96 * MS, '100 ms'], [812 * MS, '812 ms'], [999.7 * MS, '1.00 s'], [9_999.7 * MS, '10.0 s'], [65_000 * MS, '65.0 s'],
  ])('%d ns is %s', (ns, text) => {
    expect(formatDuration(ns)).toBe(text);
  });

  test.each([[0.0341, '0.034'], [0.0996, '0.10'], [1.05, '1.05'], [9.996, '10.0'], [13.72, '13.7'], [140.4, '140']])('the factor %d is %s', (ratio, text) => {
    expect(formatFactor(ratio)).toBe(text);
  });

  test('noise', () => {
    expect(formatPercent(0.034)).toBe('±3.4 %');
    expect(formatPercent(0.5)).toBe('±50 %');
    expect(formatPercent(Infinity)).toBe('unknown');
    expect(isWithinNoise(1.04, 0.05)).toBe(true);
    expect(isWithinNoise(0.94, 0.05)).toBe(false);
  });

  test('a value is that of one file where the measurement says so, or bytes', () => {
    expect(formatValue({ ...MEASUREMENT, per: 'files' }, 12 * MS)).toBe('1.00 ms');
    expect(formatValue({ ...MEASUREMENT, unit: 'bytes' }, 1024)).toBe('1.00 KiB');
  });
});

test('a ratio without an interval is shown without one', () => {
  expect(formatRatio({ ratio: 1.5, low: 1.25, high: 2 })).toBe('1.50 (1.25–2.00)');
  expect(formatRatio({ ratio: 1.5, low: 0, high: Infinity })).toBe('1.50');
});

test('a table lines up the first column to the left, others to the right', () => {
  expect(textTable([['', 'median'], ['overlayfs', '1 ms'], ['x', '10 ms', 'more']], '  ')).toBe(
    ['             median', '  overlayfs    1 ms', '  x           10 ms  more'].join('\n'),
  );
});

describe('summary', () => {
  const { slots, noise } = summarize(RESULT, MEASUREMENT, 'templatefs');

  test('compares each slot with the reference, and the subject with each slot', () => {
    expect(slots.map(({ toReference }) => toReference.ratio.toFixed(2))).toEqual(['0.79', '1.00', '1.01', '0.50']);
    expect(slots.map(({ subjectTo }) => subjectTo?.ratio.toFixed(2))).toEqual(['0.63', '0.50', '0.50', '1.00']);
  });

  test('takes the noise from the reference against itself', () => {
    expect(noise).toBeGreaterThan(0.009);
    expect(noise).toBeLessThan(0.06);
  });

  test('does without the subject', () => {
    const without = { ...MEASUREMENT, samples: MEASUREMENT.samples.slice(0, 3) };
    expect(summarize(RESULT, without, 'templatefs').slots.map(({ subjectTo }) => subjectTo)).toEqual([undefined, undefined, undefined]);
    expect(renderResult(resultOf([without]), 'templatefs')).not.toContain('templatefs / it');
  });

  test('of a slot that ran once', () => {
    const once = measurementOf({ overlayfs: [1, 1, 1], 'overlayfs-again': [1, 1, 1], 'fuse-native': [9, null, null] });
    expect(summarize(RESULT, once, 'templatefs').slots.at(-1)).toMatchObject({ rounds: 1, toReference: { ratio: 9, high: Infinity } });
  });
});

test('a measurement is a block with a line a slot, the noise and the requests', () => {
  const all = summarizeAll(RESULT, 'templatefs');
  const lines = renderMeasurement(summarize(RESULT, MEASUREMENT, 'templatefs'), all, 'templatefs').split('\n');
  expect(lines[0]).toBe('read-root, cold: does read-root (12 files, 2.00 KiB)');
  expect(lines[1]).toBe('  for: backup; durability: nothing is written');
  expect(lines[2]).toMatch(/median +quartiles +\/ overlayfs +templatefs \/ it$/);
  expect(lines[3]).toMatch(/^ {2}host +81\.0 ms +80\.5 ms – 81\.5 ms +0\.79 \(0\.\d\d–0\.\d\d\) +0\.63 \(/);
  expect(lines[4]).toMatch(/^ {2}overlayfs +102 ms .* 1 +0\.50 \(/);
  expect(lines[5]).toMatch(/^ {2}overlayfs again +103 ms .* 1\.01 \(/);
  expect(lines[6]).toMatch(/^ {2}templatefs +51\.0 ms +50\.5 ms – 51\.5 ms +0\.50 \([^)]*\)$/);
  expect(lines[7]).toMatch(/^ {2}noise of this run: ±\d/);
  expect(lines[8]).toBe('  requests of templatefs in one run: 54, readdirplus 30, open 12, release 12');
});

test('the overview is a Markdown table with targets', () => {
  const opened = measurementOf({ overlayfs: [10], 'overlayfs-again': [10], 'fuse-overlayfs': [40], templatefs: [25] }, { scenario: 'open-close', variant: 'warm' });
  const lines = renderOverview(summarizeAll(resultOf([MEASUREMENT, opened]), 'templatefs'), 'templatefs').split('\n');
  expect(lines[0]).toBe('| scenario | overlayfs | noise | host | fuse-overlayfs | **templatefs** | target | templatefs / fuse-overlayfs |');
  expect(lines[2]).toMatch(/^\| read-root, cold \| 102 ms \| ±.* % \| 0\.79 \| – \| \*\*0\.50 .*\*\* \| – \| – \|$/);
  expect(lines[3]).toBe('| open-close, warm | 10.0 ms | unknown | – | 4.00 | **2.50** | 2.00: **missed** (2.50) | 0.63 |');
});

test('the whole result tells conditions, modes and what was left out', () => {
  const text = renderResult(RESULT, 'templatefs');
  for (const part of [
    '2030-01-02, 2 cores (a CPU), 8.00 GiB of memory, Linux 6.18, load 0.3 at the start, commit abc', 'root: root.tar, 12 files', 'caching: passthrough yes',
    'durability: fsync at copy-up', 'unionfs-fuse: not measured: not installed', 'read-root: without fuse-native: too slow',
  ]) {
    expect(text).toContain(part);
  }
});
