import type { Ratio } from '../runner/statistics.js';
import { ratioOfMedians } from '../runner/statistics.js';
import { formatSize } from '../../src/core/sizes.js';
import { formatFactor } from './numbers.js';
import { slotOf, type MeasurementSummary } from './summarize.js';

const KIB = 1024;

/** What the subject is to reach in one variant of a scenario. */
interface Target {
  readonly scenario: string;
  readonly variant: string;
  /** A ratio, or bytes. */
  readonly atMost: number;
  /** Against what: the reference of the scenario (default), the subject itself in another variant, or nothing (bytes). */
  readonly against?: { readonly variant: string } | 'nothing';
}

/** Issue "as fast as the kernel's own overlay": subject / kernel overlayfs in one run, if nothing else is said. */
export const TARGETS: readonly Target[] = [
  { scenario: 'read-128k', variant: 'warm', atMost: 1.05 },
  { scenario: 'read-random-4k', variant: 'warm', atMost: 1.05 },
  { scenario: 'overwrite', variant: '', atMost: 1.05 },
  { scenario: 'read-4k', variant: 'warm', atMost: 1.15 },
  { scenario: 'map', variant: 'warm', atMost: 0.5 },
  { scenario: 'walk-root', variant: 'cold', atMost: 0.7 },
  { scenario: 'walk-root', variant: 'warm', atMost: 1.05 },
  { scenario: 'tar-usr', variant: 'cold', atMost: 1.2 },
  { scenario: 'stat', variant: 'cold', atMost: 1.3 },
  { scenario: 'stat', variant: 'warm', atMost: 1.05 },
  { scenario: 'open-close', variant: 'warm', atMost: 2 },
  { scenario: 'create', variant: '', atMost: 2.5 },
  { scenario: 'rename', variant: '', atMost: 2 },
  { scenario: 'unlink', variant: '', atMost: 2 },
  { scenario: 'chmod-usr-share', variant: '', atMost: 0.1 },
  { scenario: 'unpack', variant: 'tar x', atMost: 2 },
  { scenario: 'unpack', variant: 'rm -rf', atMost: 2 },
  { scenario: 'git', variant: 'clone', atMost: 1.1 },
  { scenario: 'git', variant: 'status', atMost: 1.1 },
  { scenario: 'sqlite-wal', variant: '', atMost: 1.1 },
  { scenario: 'pgbench', variant: '', atMost: 1.1 },
  { scenario: 'apt-install', variant: '', atMost: 1.05 },
  { scenario: 'install', variant: 'next container', atMost: 0.3 },
  { scenario: 'npm-ci', variant: '', atMost: 1.05 },
  { scenario: 'cxx-build', variant: '', atMost: 1.05 },
  { scenario: 'container-start', variant: 'warm', atMost: 1.2 },
  { scenario: 'containerd-run', variant: 'warm', atMost: 1.2 },
  { scenario: 'containerd-images', variant: 'disk', atMost: 0.8 },
  { scenario: 'containerd-images', variant: 'page cache', atMost: 0.8 },
  { scenario: 'page-cache', variant: '50 containers', atMost: 1.05, against: { variant: '1 container' } },
  { scenario: 'engine-memory', variant: 'idle', atMost: 0.3 * KIB * KIB, against: 'nothing' },
  { scenario: 'engine-memory', variant: 'after find', atMost: KIB * KIB, against: 'nothing' },
  { scenario: 'containers', variant: 'create, 1000 containers', atMost: 1.2, against: { variant: 'create, 1 container' } },
  { scenario: 'containers', variant: 'mount, 1000 containers', atMost: 1.2, against: { variant: 'mount, 1 container' } },
  { scenario: 'containers', variant: 'unmount, 1000 containers', atMost: 1.2, against: { variant: 'unmount, 1 container' } },
  // 0.7 times as fast as the fastest of those that do the same, and no less found; the second run costs 1 %.
  { scenario: 'merge', variant: 'first run', atMost: 1 / 0.7 },
  { scenario: 'merge', variant: 'again', atMost: 0.01, against: { variant: 'first run' } },
];

/** What every scenario is to reach against the other union file system in user space. */
const RIVAL = 'fuse-overlayfs';
const RIVAL_AT_MOST = 0.9;
const RIVAL_AT_MOST_METADATA = 0.5;

/** One target and what came out. */
export interface Outcome {
  readonly title: string;
  /** `1.05`, `300 KiB`, `1.05 × 1 container` */
  readonly wanted: string;
  readonly found: string;
  readonly met: boolean;
}

function valuesOf(summary: MeasurementSummary, slot: string): readonly (number | null)[] {
  return summary.measurement.samples.find((samples) => samples.slot === slot)?.values ?? [];
}

/** @returns undefined if there is no target for this, or the subject was not measured */
export function outcomeOf(summary: MeasurementSummary, all: readonly MeasurementSummary[], subject: string): Outcome | undefined {
  const { scenario, variant } = summary.measurement;
  const target = TARGETS.find((candidate) => candidate.scenario === scenario && candidate.variant === variant);
  const found = slotOf(summary, subject);
  if (target === undefined || found === undefined) return undefined;
  const { title } = summary;
  const { atMost, against } = target;
  if (against === 'nothing') return { title, wanted: formatSize(atMost), found: formatSize(found.median), met: found.median <= atMost };
  if (against === undefined) return { title, wanted: formatFactor(atMost), found: formatFactor(found.toReference.ratio), met: found.toReference.ratio <= atMost };
  const other = all.find(({ measurement }) => measurement.scenario === scenario && measurement.variant === against.variant);
  if (other === undefined) return undefined;
  const { ratio } = ratioOfMedians(valuesOf(summary, subject), valuesOf(other, subject));
  return { title, wanted: `${formatFactor(atMost)} × ${against.variant}`, found: formatFactor(ratio), met: ratio <= atMost };
}

/** Subject against the rival. @returns undefined where one of them was not measured */
export function rivalOutcomeOf(summary: MeasurementSummary): (Outcome & { readonly ratio: Ratio }) | undefined {
  const ratio = slotOf(summary, RIVAL)?.subjectTo;
  if (ratio === undefined) return undefined;
  const atMost = summary.scenario.group === 'metadata' ? RIVAL_AT_MOST_METADATA : RIVAL_AT_MOST;
  return { title: `${summary.title} against ${RIVAL}`, wanted: formatFactor(atMost), found: formatFactor(ratio.ratio), met: ratio.ratio <= atMost, ratio };
}
