import { formatSize } from '../../src/core/sizes.js';
import type { Ratio } from '../runner/statistics.js';
import type { Measurement } from './result.js';

const UNITS: readonly (readonly [string, number])[] = [['ns', 1], ['µs', 1e3], ['ms', 1e6], ['s', 1e9]];

/** Three digits: 812 ms, 81.2 ms, 8.12 s, 1.53 µs. */
export function formatDuration(ns: number): string {
  // The bounds are where rounding to three digits would make four.
  const [unit, factor] = UNITS.find(([, size]) => ns / size < 999.5) ?? ['s', 1e9];
  const value = ns / factor;
  if (unit === 'ns') return `${value.toFixed(value < 9.995 ? 1 : 0)} ns`;
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}

/** A value of a measurement as tables show it: of one file, of one write, where the scenario says so. */
export function formatValue(measurement: Measurement, value: number): string {
  if (measurement.unit === 'bytes') return formatSize(Math.round(value));
  const divisor = measurement.per === null ? 1 : (measurement.work[measurement.per] ?? 1);
  return formatDuration(value / divisor);
}

export function formatRatio({ ratio, low, high }: Ratio): string {
  if (high === Infinity) return formatFactor(ratio);
  return `${formatFactor(ratio)} (${formatFactor(low)}–${formatFactor(high)})`;
}

/** 0.034, 0.87, 1.05, 13.7, 140 */
export function formatFactor(ratio: number): string {
  return ratio.toFixed(ratio >= 99.95 ? 0 : ratio >= 9.995 ? 1 : ratio < 0.0995 ? 3 : 2);
}

/** Whether a ratio is no further from 1 than the reference is from itself. */
export function isWithinNoise(ratio: number, noise: number): boolean {
  return Math.max(ratio, 1 / ratio) - 1 <= noise;
}

export function formatPercent(fraction: number): string {
  if (fraction === Infinity) return 'unknown';
  return `±${(fraction * 100).toFixed(fraction < 0.0995 ? 1 : 0)} %`;
}
