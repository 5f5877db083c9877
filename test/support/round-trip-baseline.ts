import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { PROJECT } from './project.js';

/** How often each FUSE request was sent: `{ lookup: 200, open: 100 }`. */
export type RequestCounts = Readonly<Record<string, number>>;

/** test/baselines/round-trips.json */
export interface Baseline {
  /** On which the counts are exact: what a kernel asks for is its own affair. */
  readonly kernel: string;
  /** Versions of the programs in scenarios that run one. */
  readonly programs: Readonly<Record<string, string>>;
  readonly scenarios: Readonly<Record<string, RequestCounts>>;
}

const FILE = `${PROJECT}test/baselines/round-trips.json`;
/** On other kernels, and with other versions of a program: a slow-down is still seen. */
const TOLERATED = { factor: 1.1, requests: 4 };

export function kernelVersion(): string {
  return /^\d+\.\d+/.exec(release())?.[0] ?? release();
}

export function readBaseline(): Baseline {
  if (!existsSync(FILE)) return { kernel: '', programs: {}, scenarios: {} };
  return JSON.parse(readFileSync(FILE, 'utf8')) as Baseline;
}

export function writeBaseline(baseline: Baseline): void {
  writeFileSync(FILE, `${JSON.stringify(baseline, null, 2)}\n`);
}

function total(counts: RequestCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/**
 * Compares what a scenario cost with what it cost before.
 *
 * @param slack requests that may come in addition, when the client has to wait for a processor
 * @returns what has changed: `open 100 -> 200 (+100), in all 300 -> 400 (+100)`; undefined when nothing has
 */
export function changeOf(wanted: RequestCounts, found: RequestCounts, exact: boolean, slack: RequestCounts = {}): string | undefined {
  const change = (name: string, before: number, after: number): string => `${name} ${before} -> ${after} (${after > before ? '+' : ''}${after - before})`;
  const [before, after] = [total(wanted), total(found)];
  if (!exact) {
    if (after <= before * TOLERATED.factor + TOLERATED.requests) return undefined;
    return change('in all', before, after);
  }
  const names = [...new Set([...Object.keys(wanted), ...Object.keys(found)])].sort();
  const isMeant = (name: string): boolean => {
    const more = (found[name] ?? 0) - (wanted[name] ?? 0);
    return more >= 0 && more <= (slack[name] ?? 0);
  };
  const changes = names.filter((name) => !isMeant(name)).map((name) => change(name, wanted[name] ?? 0, found[name] ?? 0));
  return changes.length === 0 ? undefined : [...changes, change('in all', before, after)].join(', ');
}
