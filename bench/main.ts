import { resolve } from 'node:path';
import { TemplatefsError } from '../src/core/errors.js';
import { exitStatusOf } from '../src/cli/exit-codes.js';
import { runBench } from './measure/run-bench.js';
import { parseBenchOptions, type BenchOptions } from './options.js';
import { PEERS, REFERENCE, SUBJECT } from './peers/all.js';
import { writeDocument } from './report/document.js';
import { renderPage } from './report/page.js';
import { readResult } from './report/read-result.js';
import type { BenchResult } from './report/result.js';
import { renderResult } from './report/tables.js';
import { textTable } from './report/text-table.js';
import { writeWhole } from '../src/cli/report/write-whole.js';
import { CleanUp } from './runner/clean-up.js';
import { SCENARIOS } from './scenarios/all.js';

/** Where scripts/bench.mjs has built things. */
const CHECKOUT = resolve(import.meta.dirname, '../../..');

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function list(): string {
  const peers = textTable(PEERS.map((peer) => [peer.name, peer.what]).map(([name = '', what = '']) => [name.padEnd(20) + what]), '  ');
  const indent = ' '.repeat(20);
  const groups = [...new Set(SCENARIOS.map(({ group }) => group))].map((group) => {
    const scenarios = SCENARIOS.filter((scenario) => scenario.group === group).map((scenario) => {
      const variants = scenario.variants.map(({ name }) => name).filter((name) => name !== '').join(', ');
      return `  ${scenario.name.padEnd(18)}${scenario.what}${variants === '' ? '' : ` [${variants}]`}\n${indent}for: ${scenario.meaning}`;
    });
    return `${group}:\n${scenarios.join('\n')}`;
  });
  return `Scenarios (--scenario takes groups, too):\n${groups.join('\n')}\nPeers (${REFERENCE.name} is the reference):\n${peers}\n`;
}

function complain(error: unknown): number {
  if (!(error instanceof TemplatefsError)) {
    say(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return 1;
  }
  say(`bench: ${error.message}${error.hint === undefined ? '' : `\n  hint: ${error.hint}`}`);
  return exitStatusOf(error);
}

async function measureNow(options: BenchOptions, cleanUp: CleanUp, signal: AbortSignal): Promise<BenchResult> {
  if (process.geteuid?.() !== 0) throw new TemplatefsError('FAILED', 'only root can mount', { hint: 'run the benchmarks with sudo' });
  const save = (result: BenchResult): Promise<void> => writeWhole(options.jsonFile, `${JSON.stringify(result, null, 2)}\n`);
  const result = await runBench({ options, checkout: CHECKOUT, cleanUp, say, save, signal });
  await save(result);
  return result;
}

async function main(argv: readonly string[]): Promise<number> {
  const cleanUp = new CleanUp();
  const interrupt = new AbortController();
  // Whoever reads along may go, or the disk of a log be full: what was mounted is unmounted nevertheless.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => { interrupt.abort(new TemplatefsError('INTERRUPTED', `interrupted by ${name}; everything is being unmounted`)); });
  }
  let status = 0;
  try {
    const groups = [...new Set(SCENARIOS.map(({ group }) => group))];
    const options = parseBenchOptions(argv, { scenarios: [...SCENARIOS.map(({ name }) => name), ...groups], peers: PEERS.map(({ name }) => name) });
    if (options === 'help') return 0;
    if (options.list) {
      process.stdout.write(list());
      return 0;
    }
    const result = options.from === undefined ? await measureNow(options, cleanUp, interrupt.signal) : await readResult(options.from);
    process.stdout.write(renderResult(result, SUBJECT.name));
    await writeWhole(options.pageFile, renderPage(result, SUBJECT.name));
    if (options.document !== undefined) await writeDocument(options.document, result, SUBJECT.name);
    if (result.skipped.some(({ failed }) => failed)) status = 1;
    say(`Results: ${options.from ?? options.jsonFile}, ${options.pageFile}${options.document === undefined ? '' : `, ${options.document}`}`);
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
