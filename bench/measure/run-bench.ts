import { chmod, mkdir, mkdtemp, rm, stat, statfs } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { TemplatefsError } from '../../src/core/errors.js';
import { StorePaths } from '../../src/core/store-paths.js';
import { makeDebianRoot } from '../inputs/debian-root.js';
import { ROUNDS, type BenchOptions } from '../options.js';
import { PEERS, REFERENCE } from '../peers/all.js';
import type { Peer } from '../peers/peer.js';
import { FORMAT, type BenchResult, type DescribedScenario, type Measurement } from '../report/result.js';
import type { CleanUp } from '../runner/clean-up.js';
import { Driver } from '../runner/driver.js';
import { makeLoopVolume } from '../runner/loop-volume.js';
import { describeMachine } from '../runner/machine.js';
import { SCENARIOS } from '../scenarios/all.js';
import { CannotMeasure, type Scenario } from '../scenarios/scenario.js';
import { measure, type OpenSlot } from './measure.js';
import { Roots } from './roots.js';
import { slotsOf, type Peers } from './slots.js';

const GIB = 1024 ** 3;
const VOLUME_BYTES = { quick: 8 * GIB, full: 20 * GIB };
/** Beside the volume: packages, archives and a second volume for what merges files. */
const SCRATCH_BYTES = { quick: 4 * GIB, full: 15 * GIB };
const ONCE_ONLY_NS = 5e9;
const ONCE_ONLY_QUICK_NS = 1.5e9;

export interface BenchRun {
  readonly options: BenchOptions;
  /** The checkout, where scripts/bench.mjs has built things. */
  readonly checkout: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
  /** Called with all that is measured so far, after each scenario: what ends a long run early takes nothing measured with it. */
  readonly save: (result: BenchResult) => Promise<void>;
  readonly signal: AbortSignal;
}

type Skipped = readonly { readonly what: string; readonly reason: string; readonly failed: boolean }[];

/** @throws FAILED when one that is needed or asked for by name cannot run */
async function findPeers({ peers: asked }: BenchOptions): Promise<{ peers: Peers; skipped: Skipped }> {
  const usable: Peer[] = [];
  const skipped: { what: string; reason: string; failed: boolean }[] = [];
  for (const peer of PEERS) {
    const reason = await peer.unusable();
    if (reason === undefined) {
      usable.push(peer);
      continue;
    }
    if (peer === REFERENCE || asked.includes(peer.name)) throw new TemplatefsError('FAILED', `cannot measure ${peer.name}: ${reason}`, { hint: 'run: npm run setup' });
    skipped.push({ what: peer.name, reason, failed: false });
  }
  return { peers: { usable, asked, reference: REFERENCE.name }, skipped };
}

function chooseScenarios({ scenarios: asked, quick }: BenchOptions): readonly Scenario[] {
  return SCENARIOS.filter(({ name, group }) => asked.length === 0 || asked.includes(name) || asked.includes(group))
    .map((scenario) => ({ ...scenario, variants: scenario.variants.filter(({ fullOnly }) => !(quick && fullOnly === true)) }))
    .filter(({ variants }) => variants.length > 0);
}

function cacheFolderOf(checkout: string): string {
  return join(checkout, 'build/bench-inputs');
}

async function findTar({ options, checkout, say, signal }: BenchRun): Promise<string> {
  if (options.tar === undefined) return makeDebianRoot({ small: options.quick, cacheFolder: cacheFolderOf(checkout), say, signal });
  const file = resolve(options.tar);
  try {
    if ((await stat(file)).isFile()) return file;
  } catch (error) {
    throw new TemplatefsError('USAGE', `no such file: ${options.tar}`, { cause: error });
  }
  throw new TemplatefsError('USAGE', `not a file: ${options.tar}`);
}

interface Setting {
  readonly run: BenchRun;
  readonly peers: Peers;
  readonly roots: Roots;
  readonly driver: Driver;
  readonly volume: string;
  readonly emptyFolder: string;
}

function secondsSince(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

async function measureScenario(scenario: Scenario, setting: Setting): Promise<{ measurements: Measurement[]; described: DescribedScenario }> {
  const { run, peers, roots, driver, volume, emptyFolder } = setting;
  const { options, checkout, say, signal } = run;
  const { slots, reference, again, leftOut } = slotsOf(scenario, peers);
  const rounds = options.runs ?? ROUNDS[options.quick ? 'quick' : 'full'][scenario.weight ?? 'light'];
  const open: OpenSlot[] = [];
  const preparing = performance.now();
  for (const slot of slots) open.push({ slot, root: await roots.rootOf(scenario.input, slot) });
  if (performance.now() - preparing > 5000) say(`Prepared ${scenario.name}: ${secondsSince(preparing)}`);
  const measurements: Measurement[] = [];
  try {
    for (const variant of scenario.variants) {
      const title = variant.name === '' ? scenario.name : `${scenario.name}, ${variant.name}`;
      const onRound = (round: number): void => {
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${title}: round ${round + 1} of ${rounds}`);
      };
      const started = performance.now();
      measurements.push(
        ...(await measure(scenario, variant, {
          slots: open, reference, again, rounds, volume, emptyFolder, checkout, cacheFolder: cacheFolderOf(checkout), driver, signal, onRound,
          input: roots.input(scenario.input), quick: options.quick, onceOnlyNs: options.quick ? ONCE_ONLY_QUICK_NS : ONCE_ONLY_NS,
        })),
      );
      say(`${process.stderr.isTTY ? '\r\x1b[K' : ''}Measured ${title}: ${rounds} rounds, ${secondsSince(started)}`);
    }
  } finally {
    await scenario.end?.();
  }
  const { name, group, what, meaning, durability } = scenario;
  return { measurements, described: { name, group, what, meaning, durability, leftOut } };
}

/** @throws NO_SPACE */
async function expectSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= bytes) return;
  const [has, needs] = [bavail * bsize, bytes].map((count) => (count / GIB).toFixed(0));
  throw new TemplatefsError('NO_SPACE', `${folder} has ${has} GiB free; the benchmarks need ${needs}`, { hint: 'set TMPDIR to a folder with more room, or measure with --quick' });
}

/** Does the measuring, on a volume of its own that `cleanUp` removes. */
export async function runBench(run: BenchRun): Promise<BenchResult> {
  const { options, checkout, cleanUp, say, signal } = run;
  const started = Date.now();
  const machine = describeMachine(checkout);
  const { peers, skipped: skippedPeers } = await findPeers(options);
  const scenarios = chooseScenarios(options);
  const tar = await findTar(run);

  const parent = process.env['TMPDIR'] ?? '/var/tmp';
  const size = options.quick ? 'quick' : 'full';
  await expectSpace(parent, VOLUME_BYTES[size] + SCRATCH_BYTES[size]);
  const folder = await mkdtemp(join(parent, 'templatefs-bench-'));
  cleanUp.add('remove the temporary folder', () => rm(folder, { recursive: true, force: true }));
  const emptyFolder = join(folder, 'empty');
  const scratch = join(folder, 'scratch');
  for (const made of [emptyFolder, scratch]) await mkdir(made);
  await chmod(folder, 0o711); // PostgreSQL is run as somebody else
  const volume = await makeLoopVolume(folder, VOLUME_BYTES[size], cleanUp, signal);
  if (!volume.directIo) say('bench: the loop device cannot do direct I/O here; cold figures are not to be trusted (set TMPDIR to a folder on a disk)');

  const binary = join(checkout, 'build/bench/driver');
  const driver = new Driver(binary);
  const places = { volume: volume.path, scratch, store: new StorePaths(join(volume.path, 'store')), say, signal };
  const roots = new Roots({ places, inputs: { debianTar: tar, quick: options.quick, driver: binary }, driver, cleanUp });
  const setting: Setting = { run, peers, roots, driver, volume: volume.path, emptyFolder };
  const measurements: Measurement[] = [];
  const described: DescribedScenario[] = [];
  const skipped: { what: string; reason: string; failed: boolean }[] = [...skippedPeers];
  const resultSoFar = (): BenchResult => {
    const work = roots.workOf('debian');
    return {
      format: FORMAT,
      date: new Date(started).toISOString(),
      durationSeconds: Math.round((Date.now() - started) / 1000),
      quick: options.quick,
      machine,
      volume: volume.description,
      input: { name: basename(tar), files: work['files'] ?? 0, folders: work['folders'] ?? 0, others: work['others'] ?? 0, bytes: work['bytes'] ?? 0 },
      peers: roots.described,
      skipped,
      scenarios: described,
      measurements,
    };
  };
  for (const scenario of scenarios) {
    try {
      const measured = await measureScenario(scenario, setting);
      measurements.push(...measured.measurements);
      described.push(measured.described);
      await run.save(resultSoFar());
    } catch (error) {
      signal.throwIfAborted();
      // What was measured before is not lost for it. All is unmounted: `measure` does that also after an error.
      const reason = error instanceof Error ? error.message : String(error);
      const failed = !(error instanceof CannotMeasure);
      say(`Not measured: ${scenario.name}: ${failed ? 'FAILED: ' : ''}${reason}`);
      skipped.push({ what: scenario.name, reason, failed });
    }
  }
  return resultSoFar();
}
