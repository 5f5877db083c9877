/** A quantile of samples, 0 to 1, linear between neighbours (type 7, as R and NumPy have it). @throws Error for none */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(at)];
  const above = sorted[Math.ceil(at)];
  if (below === undefined || above === undefined) throw new Error('no samples');
  return below + (above - below) * (at - Math.floor(at));
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** A ratio of medians and the interval that it lies in with 95 % confidence; 0 to infinity when nothing is known. */
export interface Ratio {
  readonly ratio: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2000;
/** Drawing from fewer rounds than this would feign a confidence that there is no ground for. */
const FEWEST_ROUNDS = 3;

/** Marsaglia's xorshift32, seeded alike each time: the same samples always give the same interval. */
function makeRandom(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * median(samples) / median(reference), with a bootstrap interval. Rounds are drawn as pairs: what slowed a whole
 * round down (the disk, a neighbour on the machine) slowed both sides, and does not widen the interval.
 *
 * @param samples one for each round, null where there was none @param reference the same rounds, in the same order
 */
export function ratioOfMedians(samples: readonly (number | null)[], reference: readonly (number | null)[]): Ratio {
  if (samples.length !== reference.length) throw new Error('not the same rounds');
  const pairs = samples.flatMap((sample, round): [number, number][] => {
    const other = reference[round] ?? null;
    return sample === null || other === null ? [] : [[sample, other]];
  });
  const ratioOf = (drawn: readonly [number, number][]): number => median(drawn.map(([a]) => a)) / median(drawn.map(([, b]) => b));
  if (pairs.length < FEWEST_ROUNDS) return { ratio: ratioOf(pairs), low: 0, high: Infinity };
  const random = makeRandom();
  const draw = (): [number, number] => pairs[Math.floor(random() * pairs.length)] ?? [NaN, NaN];
  const ratios = Array.from({ length: RESAMPLES }, () => ratioOf(pairs.map(draw)));
  return { ratio: ratioOf(pairs), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

/**
 * How far apart two measurements of one and the same thing were: 0.05 means that a difference of 5 % means nothing.
 * The whole interval counts, not only the ratio that came out, which is close to 1 by luck half of the time.
 */
export function noiseOf(again: Ratio): number {
  return Math.max(again.high, 1 / again.low) - 1;
}
