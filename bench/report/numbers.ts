import type { Ratio } from '../runner/statistics.js';

/** Three digits: 812 ms, 81.2 ms, 8.12 s. */
export function formatDuration(ns: number): string {
  const ms = ns / 1e6;
  // The bounds are where rounding to three digits would make four.
  if (ms >= 9999.5) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 99.95) return `${ms.toFixed(0)} ms`;
  if (ms >= 9.995) return `${ms.toFixed(1)} ms`;
  return `${ms.toFixed(2)} ms`;
}

export function formatRatio({ ratio, low, high }: Ratio): string {
  if (high === Infinity) return ratio.toFixed(2);
  return `${ratio.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;
}

/** Whether a ratio is no further from 1 than the reference is from itself. */
export function isWithinNoise(ratio: number, noise: number): boolean {
  return Math.max(ratio, 1 / ratio) - 1 <= noise;
}

export function formatPercent(fraction: number): string {
  if (fraction === Infinity) return 'unknown';
  return `±${(fraction * 100).toFixed(fraction < 0.0995 ? 1 : 0)} %`;
}
