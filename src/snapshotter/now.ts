import type { Moment } from '../catalog/containerd-file.js';

/**
 * The time, finer than a millisecond: containerd compares it with its own. The fine clock counts from the start of the process, so it counts
 * only while it agrees with the other.
 */
export function now(): Moment {
  const coarse = Date.now();
  const fine = performance.timeOrigin + performance.now();
  const ms = Math.abs(fine - coarse) < 2 ? fine : coarse;
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanoseconds: Math.min(999_999_999, Math.round((ms - seconds * 1000) * 1e6)) };
}
