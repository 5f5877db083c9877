import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { FINDERS } from '../peers/duplicate-finders.js';
import type { Sample } from '../runner/sample.js';
import { MergeFleet } from './merge-fleet.js';
import type { Parts, RunContext, Scenario } from './scenario.js';

const PEERS = [...FINDERS.map(({ name }) => name), 'templatefs'];
const REFERENCE = 'jdupes';
const DURABILITY = 'templatefs: what was merged and the space that it gave back are on disk when the command ends; the others sync nothing';
const MEANING = 'containers have upgraded themselves, and what they wrote is to be there once again';

let fleet: MergeFleet | undefined;
/** Given back by the last run of each slot. */
const found = new Map<string, number>();
/** Of which one works while all are merged. */
const LOADED_CONTAINERS = 3;

async function fleetOf(context: RunContext, containers?: number): Promise<MergeFleet> {
  fleet ??= await MergeFleet.make(context, containers);
  return fleet.for(context);
}

async function endFleet(): Promise<void> {
  const ended = fleet;
  fleet = undefined;
  await ended?.end();
}

async function timeCommands(own: MergeFleet, { driver, input, signal }: RunContext, what: 'merge' | 'search' = 'merge'): Promise<number> {
  let ns = 0;
  for (const command of own.commands(what)) ns += (await driver.run(['run', ...command], signal, { cwd: input.places.scratch })).value; // rmlint leaves a file where it runs
  return ns;
}

async function searchAndRunTwice(context: RunContext): Promise<Parts> {
  const own = await fleetOf(context);
  const work = { containers: own.names.length };
  await own.forget();
  const search = await timeCommands(own, context, 'search');
  await own.forget();
  const before = await own.usedBytes();
  const first = await timeCommands(own, context);
  found.set(context.slot, before - (await own.usedBytes()));
  const second = await timeCommands(own, context);
  return new Map<string, Sample>([['search', { value: search, work }], ['first run', { value: first, work }], ['again', { value: second, work }]]);
}

const shared = {
  group: 'store',
  meaning: MEANING,
  durability: DURABILITY,
  variants: [{ name: '', ready: 'own' }],
  input: 'debian',
  // Of a round of two minutes rmlint and duperemove take nearly all.
  weight: 'slow',
  only: PEERS,
  also: PEERS,
  reference: REFERENCE,
  prepare: async (_root, context) => (await fleetOf(context)).prepare(),
  end: endFleet,
} as const satisfies Partial<Scenario>;

export const merge: Scenario = {
  ...shared,
  name: 'merge',
  what: 'ten containers (--quick: three) that have each installed the same are only searched for equal files (templatefs: link --dry-run); then those are merged; then again, with nothing changed. Files are in memory',
  run: (_root, context) => searchAndRunTwice(context),
};

export const mergeFound: Scenario = {
  ...shared,
  name: 'merge-found',
  what: 'what that gives back of the disk',
  unit: 'bytes',
  prepare: async (_root, context) => {
    if (!found.has(context.slot)) await (await fleetOf(context)).prepare();
  },
  run: async (_root, context) => {
    if (!found.has(context.slot)) await searchAndRunTwice(context);
    return { value: found.get(context.slot) ?? 0, work: {} };
  },
};

const FIO = ['--name=load', '--rw=randrw', '--bs=4k', '--size=32M', '--ioengine=psync', '--rate_iops=1000,1000', '--fsync=64', '--time_based', '--output-format=json'];
const ALONE_SECONDS = 8;
const MOST_SECONDS = 600;

interface FioLatency {
  readonly clat_ns: { readonly mean: number; readonly percentile?: Readonly<Record<string, number>> };
}

/** fio in a container until `during` is over. @returns mean and 99th percentile of reads and writes in ns */
async function load(folder: string, during: () => Promise<void>): Promise<{ mean: number; p99: number }> {
  const child = spawn('fio', [...FIO, `--directory=${folder}`, `--runtime=${MOST_SECONDS}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => { resolve(); });
  });
  try {
    await during();
  } finally {
    child.kill('SIGINT');
    await ended;
  }
  // What fio says of the signal may stand before its document.
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: readonly { readonly read: FioLatency; readonly write: FioLatency }[] };
  const [job] = jobs;
  if (job === undefined) throw new Error('fio has measured nothing');
  const p99 = ({ clat_ns: { percentile } }: FioLatency): number => percentile?.['99.000000'] ?? 0;
  return { mean: (job.read.clat_ns.mean + job.write.clat_ns.mean) / 2, p99: Math.max(p99(job.read), p99(job.write)) };
}

export const mergeLoad: Scenario = {
  ...shared,
  name: 'merge-load',
  what: 'reads and writes of 4 KiB by fio in one of three containers, 2,000 each second, alone and while all of them are merged: mean and 99th percentile',
  meaning: 'what a container that works feels of merging',
  durability: 'an fsync after each 64 writes',
  weight: 'counted',
  only: ['templatefs'],
  reference: 'templatefs',
  prepare: async (_root, context) => (await fleetOf(context, LOADED_CONTAINERS)).prepare(),
  run: async (_root, context) => {
    const own = await fleetOf(context, LOADED_CONTAINERS);
    const folder = join(own.root(own.names[0] ?? ''), 'var/tmp/load');
    await mkdir(folder, { recursive: true });
    const alone = await load(folder, () => new Promise((resolve) => setTimeout(resolve, ALONE_SECONDS * 1000)));
    const merging = await load(folder, async () => {
      await timeCommands(own, context);
    });
    const work = {};
    return new Map<string, Sample>([
      ['mean, alone', { value: alone.mean, work }],
      ['mean, while merging', { value: merging.mean, work }],
      ['p99, alone', { value: alone.p99, work }],
      ['p99, while merging', { value: merging.p99, work }],
    ]);
  },
};
