import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { TemplatefsError } from '../src/core/errors.js';
import { exitStatusOf } from '../src/cli/exit-codes.js';
import { parseBenchOptions, type BenchOptions } from './options.js';
import { PEERS, REFERENCE, SUBJECT } from './peers/all.js';
import type { Peer } from './peers/peer.js';
import { FORMAT, type BenchResult, type DescribedPeer, type Measurement, type Slot } from './report/result.js';
import { renderResult } from './report/tables.js';
import { textTable } from './report/text-table.js';
import { writeJson } from './report/write-json.js';
import { CleanUp } from './runner/clean-up.js';
import { makeDebianRoot } from './runner/debian-root.js';
import { Driver } from './runner/driver.js';
import { Input } from './runner/input.js';
import { makeLoopVolume } from './runner/loop-volume.js';
import { describeMachine } from './runner/machine.js';
import { measure, type OpenSlot } from './runner/measure.js';
import { SCENARIOS } from './scenarios/all.js';
import type { Scenario } from './scenarios/scenario.js';

/** Where scripts/bench.mjs has built things. */
const CHECKOUT = resolve(import.meta.dirname, '../../..');
const DRIVER = join(CHECKOUT, 'build/bench/driver');
const INPUTS = join(CHECKOUT, 'build/bench-inputs');

const GIB = 1024 ** 3;

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What to measure: the reference, the reference again, and the peers asked for that can run. */
async function chooseSlots(options: BenchOptions): Promise<{ slots: (Slot & { readonly of: Peer })[]; skipped: BenchResult['skipped'] }> {
  const slots: (Slot & { readonly of: Peer })[] = [];
  const skipped: { peer: string; reason: string }[] = [];
  for (const peer of PEERS) {
    const isAsked = options.peers.length === 0 || options.peers.includes(peer.name);
    if (!isAsked && peer !== REFERENCE) continue;
    const reason = await peer.unusable();
    if (reason !== undefined) {
      if (peer === REFERENCE || options.peers.includes(peer.name)) throw new TemplatefsError('FAILED', `cannot measure ${peer.name}: ${reason}`);
      skipped.push({ peer: peer.name, reason });
      continue;
    }
    slots.push({ name: peer.name, peer: peer.name, role: peer === REFERENCE ? 'reference' : 'peer', of: peer });
    if (peer === REFERENCE) slots.push({ name: `${peer.name}-again`, peer: peer.name, role: 'again', of: peer });
  }
  return { slots, skipped };
}

async function findTar(options: BenchOptions, signal: AbortSignal): Promise<string> {
  if (options.tar === undefined) return makeDebianRoot({ small: options.quick, cacheFolder: INPUTS, say, signal });
  const file = resolve(options.tar);
  try {
    if ((await stat(file)).isFile()) return file;
  } catch (error) {
    throw new TemplatefsError('USAGE', `no such file: ${options.tar}`, { cause: error });
  }
  throw new TemplatefsError('USAGE', `not a file: ${options.tar}`);
}

/** That all roots show the same is checked byte by byte once, before anything is timed. */
async function checkRoots(slots: readonly OpenSlot[], driver: Driver, signal: AbortSignal): Promise<{ modes: DescribedPeer[]; work: Readonly<Record<string, number>> }> {
  say('Checking that all roots show the same');
  const modes: DescribedPeer[] = [];
  let expected: { readonly digest: string; readonly work: Readonly<Record<string, number>> } | undefined;
  for (const { slot, root } of slots) {
    await root.mount();
    try {
      const found = await driver.digest(root.path, signal);
      expected ??= found;
      if (found.digest !== expected.digest) {
        throw new TemplatefsError('FAILED', `${slot.name} shows another root than ${slots[0]?.slot.name ?? 'the first'}: ${JSON.stringify(found.work)}, not ${JSON.stringify(expected.work)}`);
      }
      const peer = PEERS.find(({ name }) => name === slot.peer);
      if (slot.role !== 'again') modes.push({ name: slot.name, what: peer?.what ?? '', ...(await root.mode()) });
    } finally {
      await root.unmount();
    }
  }
  return { modes, work: expected?.work ?? {} };
}

async function measureAll(scenarios: readonly Scenario[], options: BenchOptions, context: Parameters<typeof measure>[2]): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  for (const scenario of scenarios) {
    for (const cache of scenario.caches) {
      const onRound = (round: number): void => {
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${scenario.name}, ${cache}: round ${round + 1} of ${options.runs}`);
        else if (round === 0) say(`Measuring ${scenario.name}, ${cache}`);
      };
      measurements.push(await measure(scenario, cache, { ...context, onRound }));
    }
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return measurements;
}

async function run(options: BenchOptions, cleanUp: CleanUp, signal: AbortSignal): Promise<BenchResult> {
  const started = Date.now();
  const machine = describeMachine(CHECKOUT);
  const scenarios = SCENARIOS.filter(({ name }) => options.scenarios.length === 0 || options.scenarios.includes(name));
  const changing = scenarios.find(({ changesRoot }) => changesRoot);
  if (changing !== undefined) throw new Error(`${changing.name} changes its root, which the runner cannot renew yet`);
  const { slots, skipped } = await chooseSlots(options);
  const tar = await findTar(options, signal);

  const folder = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'templatefs-bench-'));
  cleanUp.add('remove the temporary folder', () => rm(folder, { recursive: true, force: true }));
  const emptyFolder = join(folder, 'empty');
  await mkdir(emptyFolder);
  const sizeBytes = Math.max(2 * GIB, Math.ceil((await stat(tar)).size / GIB) * 4 * GIB);
  const volume = await makeLoopVolume(folder, sizeBytes, cleanUp, signal);
  if (!volume.directIo) say('bench: the loop device cannot do direct I/O here; cold figures are not to be trusted (set TMPDIR to a folder on a disk)');

  const input = new Input({ tar, volume, say, signal });
  const open: OpenSlot[] = [];
  for (const { of, ...slot } of slots) {
    const root = await of.makeRoot(input, slot.name);
    cleanUp.add(`unmount ${slot.name}`, () => root.unmount());
    open.push({ slot, root });
  }
  const driver = new Driver(DRIVER);
  const { modes, work } = await checkRoots(open, driver, signal);
  const context = { slots: open, runs: options.runs, volume: volume.path, emptyFolder, driver, signal, onRound: () => undefined };
  const measurements = await measureAll(scenarios, options, context);
  return {
    format: FORMAT,
    date: new Date(started).toISOString(),
    durationSeconds: Math.round((Date.now() - started) / 1000),
    quick: options.quick,
    runs: options.runs,
    machine,
    volume: volume.description,
    input: { name: basename(tar), files: work['files'] ?? 0, folders: work['folders'] ?? 0, others: work['others'] ?? 0, bytes: work['bytes'] ?? 0 },
    slots: open.map(({ slot }) => slot),
    peers: modes,
    skipped,
    scenarios: scenarios.map(({ name, what, meaning }) => ({ name, what, meaning })),
    measurements,
  };
}

function list(): string {
  const peers = textTable(PEERS.map((peer) => [peer.name, peer.what]).map(([name = '', what = '']) => [name.padEnd(16) + what]), '  ');
  const scenarios = SCENARIOS.map((scenario) => `  ${scenario.name.padEnd(16)}${scenario.what}\n${' '.repeat(18)}${scenario.meaning}\n${' '.repeat(18)}${scenario.caches.join(', ')}`);
  return `Scenarios:\n${scenarios.join('\n')}\nPeers (${REFERENCE.name} is the reference):\n${peers}\n`;
}

function complain(error: unknown): number {
  if (!(error instanceof TemplatefsError)) {
    say(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return 1;
  }
  say(`bench: ${error.message}${error.hint === undefined ? '' : `\n  hint: ${error.hint}`}`);
  return exitStatusOf(error);
}

async function main(argv: readonly string[]): Promise<number> {
  const cleanUp = new CleanUp();
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => { interrupt.abort(new TemplatefsError('INTERRUPTED', `interrupted by ${name}; everything is being unmounted`)); });
  }
  let status = 0;
  let result: BenchResult | undefined;
  try {
    const options = parseBenchOptions(argv, { scenarios: SCENARIOS.map(({ name }) => name), peers: PEERS.map(({ name }) => name) });
    if (options === 'help') return 0;
    if (options.list) {
      process.stdout.write(list());
      return 0;
    }
    if (process.geteuid?.() !== 0) throw new TemplatefsError('FAILED', 'only root can mount', { hint: 'run the benchmarks with sudo' });
    result = await run(options, cleanUp, interrupt.signal);
    await writeJson(options.jsonFile, result);
    process.stdout.write(renderResult(result, SUBJECT.name));
    say(`Results: ${options.jsonFile}`);
  } catch (error) {
    status = complain(error);
  }
  for (const problem of await cleanUp.run()) {
    say(`bench: ${problem}`);
    status = status === 0 ? 1 : status;
  }
  return status;
}

process.exitCode = await main(process.argv.slice(2));
