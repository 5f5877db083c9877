import { describe, expect, test } from 'vitest';
import { formatDuration, formatPercent, formatRatio, isWithinNoise } from '../../../bench/report/numbers.js';
import type { BenchResult, Measurement } from '../../../bench/report/result.js';
import { summarize } from '../../../bench/report/summarize.js';
import { renderMeasurement, renderOverview, renderResult } from '../../../bench/report/tables.js';
import { textTable } from '../../../bench/report/text-table.js';

const MS = 1e6;
const MEASUREMENT: Measurement = {
  scenario: 'read-root',
  cache: 'cold',
  work: { files: 12, bytes: 2048 },
  samples: [
    { slot: 'host', ns: [80 * MS, 82 * MS, 81 * MS] },
    { slot: 'overlayfs', ns: [100 * MS, 104 * MS, 102 * MS] },
    { slot: 'overlayfs-again', ns: [101 * MS, 105 * MS, 103 * MS] },
    { slot: 'templatefs', ns: [50 * MS, 52 * MS, 51 * MS], requests: { open: 12, release: 12, readdirplus: 30 } },
  ],
};
const RESULT: BenchResult = {
  format: 1,
  date: '2030-01-02T03:04:05.000Z',
  durationSeconds: 60,
  quick: false,
  runs: 3,
  machine: { cores: 2, cpu: 'a CPU', kernel: '6.18', memoryBytes: 8 * 1024 ** 3, load: 0.25, commit: 'abc' },
  volume: 'ext4',
  input: { name: 'root.tar', files: 12, folders: 3, others: 1, bytes: 2048 },
  slots: [
    { name: 'host', peer: 'host', role: 'peer' },
    { name: 'overlayfs', peer: 'overlayfs', role: 'reference' },
    { name: 'overlayfs-again', peer: 'overlayfs', role: 'again' },
    { name: 'templatefs', peer: 'templatefs', role: 'peer' },
  ],
  peers: [{ name: 'templatefs', what: 'this project', caching: 'passthrough yes', durability: 'fsync at copy-up' }],
  skipped: [{ peer: 'fuse-overlayfs', reason: 'not installed' }],
  scenarios: [{ name: 'read-root', what: 'reads the root', meaning: 'backup' }],
  measurements: [MEASUREMENT],
};
const SCENARIO = { name: 'read-root', what: 'reads the root', meaning: 'backup' };

describe('numbers', () => {
  test.each([
    [1.234 * MS, '1.23 ms'], [9.996 * MS, '10.0 ms'], [81.24 * MS, '81.2 ms'], [99.96 * MS, '100 ms'],
    [812 * MS, '812 ms'], [999.7 * MS, '1.00 s'], [9_999.7 * MS, '10.0 s'], [65_000 * MS, '65.0 s'],
  ])('%d ns is %s', (ns, text) => {
    expect(formatDuration(ns)).toBe(text);
  });

  test('noise', () => {
    expect(formatPercent(0.034)).toBe('±3.4 %');
    expect(formatPercent(0.5)).toBe('±50 %');
    expect(formatPercent(Infinity)).toBe('unknown');
    expect(isWithinNoise(1.04, 0.05)).toBe(true);
    expect(isWithinNoise(0.94, 0.05)).toBe(false);
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
    const without = { ...RESULT, slots: RESULT.slots.slice(0, 3) };
    expect(summarize(without, MEASUREMENT, 'templatefs').slots.map(({ subjectTo }) => subjectTo)).toEqual([undefined, undefined, undefined]);
    expect(renderResult(without, 'templatefs')).not.toContain('templatefs / it');
  });
});

test('a measurement is a block with a line a slot, the noise and the requests', () => {
  const lines = renderMeasurement(summarize(RESULT, MEASUREMENT, 'templatefs'), SCENARIO, 'templatefs').split('\n');
  expect(lines[0]).toBe('read-root, cold: reads the root (12 files, 2.00 KiB)');
  expect(lines[1]).toMatch(/median +quartiles +\/ overlayfs +templatefs \/ it$/);
  expect(lines[2]).toMatch(/^ {2}host +81\.0 ms +80\.5 ms – 81\.5 ms +0\.79 \(0\.\d\d–0\.\d\d\) +0\.63 \(/);
  expect(lines[3]).toMatch(/^ {2}overlayfs +102 ms .* 1 +0\.50 \(/);
  expect(lines[4]).toMatch(/^ {2}overlayfs again +103 ms .* 1\.01 \(/);
  expect(lines[5]).toMatch(/^ {2}templatefs +51\.0 ms +50\.5 ms – 51\.5 ms +0\.50 \([^)]*\)$/);
  expect(lines[6]).toMatch(/^ {2}noise of this run: ±\d/);
  expect(lines[7]).toBe('  requests of templatefs in one run: 54, readdirplus 30, open 12, release 12');
});

test('the overview is a Markdown table', () => {
  const lines = renderOverview(RESULT, [summarize(RESULT, MEASUREMENT, 'templatefs')], 'templatefs').split('\n');
  expect(lines[0]).toBe('| scenario | overlayfs | noise | host / overlayfs | **templatefs / overlayfs** | templatefs / host |');
  expect(lines[1]).toBe('| --- | ---: | ---: | ---: | ---: | ---: |');
  expect(lines[2]).toMatch(/^\| read-root, cold \| 102 ms \| ±.* % \| 0\.79 .* \| \*\*0\.50 .*\*\* \| 0\.63 .* \|$/);
});

test('the whole result tells conditions, modes and what was left out', () => {
  const text = renderResult(RESULT, 'templatefs');
  for (const part of ['2030-01-02, 2 cores (a CPU), 8.00 GiB of memory, Linux 6.18, load 0.3 at the start, commit abc', 'root: root.tar, 12 files', 'caching: passthrough yes', 'durability: fsync at copy-up', 'fuse-overlayfs: not measured: not installed']) {
    expect(text).toContain(part);
  }
});
