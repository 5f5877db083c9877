import { describe, expect, test } from 'vitest';
import { median, noiseOf, quantile, ratioOfMedians } from '../../../bench/runner/statistics.js';

describe('quantile', () => {
  test('takes the middle, whatever the order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([40, 10, 30, 20])).toBe(25);
    expect(median([7])).toBe(7);
  });

  test('lies between neighbours, as R and NumPy have it', () => {
    expect(quantile([1, 2, 3, 4], 0.25)).toBeCloseTo(1.75);
    expect(quantile([1, 2, 3, 4], 0.75)).toBeCloseTo(3.25);
    expect(quantile([5, 1], 0)).toBe(1);
    expect(quantile([5, 1], 1)).toBe(5);
  });

  test('refuses to make a number of nothing', () => {
    expect(() => median([])).toThrow('no samples');
  });
});

describe('ratioOfMedians', () => {
  test('of samples with themselves is 1, without spread', () => {
    expect(ratioOfMedians([5, 9, 7], [5, 9, 7])).toEqual({ ratio: 1, low: 1, high: 1 });
  });

  test('counts only rounds in which both took part', () => {
    expect(ratioOfMedians([50, null, null], [10, 1000, 1000])).toEqual({ ratio: 5, low: 0, high: Infinity });
    expect(ratioOfMedians([2, 4, 6, null], [1, 2, 3, 500]).ratio).toBe(2);
  });

  test('a constant factor has no spread, however much rounds differ', () => {
    const reference = [10, 80, 20, 35, 15];
    const ratio = ratioOfMedians(reference.map((ns) => ns * 3), reference);
    expect(ratio.ratio).toBeCloseTo(3);
    expect(ratio.low).toBeCloseTo(3);
    expect(ratio.high).toBeCloseTo(3);
  });

  test('its interval holds it and shows how samples scatter', () => {
    const reference = [100, 104, 98, 101, 99, 103, 97, 102];
    const calm = ratioOfMedians([120, 122, 119, 121, 118, 123, 120, 121], reference);
    const wild = ratioOfMedians([60, 250, 119, 80, 200, 123, 70, 180], reference);
    for (const { ratio, low, high } of [calm, wild]) {
      expect(low).toBeLessThanOrEqual(ratio);
      expect(high).toBeGreaterThanOrEqual(ratio);
    }
    expect(calm.low).toBeGreaterThan(1.1);
    expect(wild.high - wild.low).toBeGreaterThan(5 * (calm.high - calm.low));
  });

  test('is the same each time', () => {
    const samples = [3, 1, 4, 1, 5, 9, 2, 6];
    const reference = [2, 7, 1, 8, 2, 8, 1, 8];
    expect(ratioOfMedians(samples, reference)).toEqual(ratioOfMedians(samples, reference));
  });

  test('claims nothing about one or two rounds', () => {
    expect(ratioOfMedians([6, 8], [3, 4])).toEqual({ ratio: 2, low: 0, high: Infinity });
    expect(noiseOf(ratioOfMedians([6], [3]))).toBe(Infinity);
  });

  test('wants the same rounds on both sides', () => {
    expect(() => ratioOfMedians([1, 2], [1])).toThrow('not the same rounds');
  });
});

test('noise is the farthest end of the interval from 1, to either side', () => {
  expect(noiseOf({ ratio: 1, low: 0.98, high: 1.05 })).toBeCloseTo(0.05);
  expect(noiseOf({ ratio: 1, low: 0.5, high: 1.05 })).toBeCloseTo(1);
  expect(noiseOf({ ratio: 1, low: 1, high: 1 })).toBe(0);
});
