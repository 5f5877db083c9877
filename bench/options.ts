import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { TemplatefsError } from '../src/core/errors.js';
import type { Weight } from './scenarios/scenario.js';

/** Rounds measured unless `--runs` says otherwise, by how long a scenario's runs take. */
export const ROUNDS: Readonly<Record<'full' | 'quick', Readonly<Record<Weight, number>>>> = {
  full: { light: 5, medium: 4, heavy: 3, slow: 2, counted: 1 },
  quick: { light: 3, medium: 2, heavy: 1, slow: 1, counted: 1 },
};

export interface BenchOptions {
  /** Fewer rounds, and no extra packages in the root: a look, not a result. */
  readonly quick: boolean;
  /** Names of scenarios; empty means all. */
  readonly scenarios: readonly string[];
  /** Names of peers; empty means all that can run here. The reference is measured in any case. */
  readonly peers: readonly string[];
  /** Rounds of every scenario; undefined: as ROUNDS has them. */
  readonly runs: number | undefined;
  /** Where the results go. */
  readonly jsonFile: string;
  /** The result of an earlier run, to be reported instead of measuring. */
  readonly from: string | undefined;
  /** Where the report page goes. */
  readonly pageFile: string;
  /** A document into which the table is written; undefined: none. */
  readonly document: string | undefined;
  /** A root to measure with in place of the one that mmdebstrap makes. */
  readonly tar: string | undefined;
  /** Only say what there is. */
  readonly list: boolean;
}

/** What can be asked for. */
export interface Known {
  readonly scenarios: readonly string[];
  readonly peers: readonly string[];
}

function parseRuns(text: string): number {
  const runs = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (runs < 1) throw new InvalidArgumentError('a number of rounds, 1 or more');
  return runs;
}

function checkNames(kind: 'scenario' | 'peer', asked: readonly string[], known: readonly string[]): readonly string[] {
  const unknown = asked.find((name) => !known.includes(name));
  if (unknown === undefined) return [...new Set(asked)];
  throw new TemplatefsError('USAGE', `no ${kind} named ${unknown}`, { hint: `there are: ${known.join(', ')}` });
}

interface RawOptions {
  readonly quick?: true;
  readonly scenario?: string[];
  readonly peer?: string[];
  readonly runs?: number;
  readonly json: string;
  readonly from?: string;
  readonly page: string;
  readonly document?: string;
  readonly tar?: string;
  readonly list?: true;
}

/**
 * Reads the command line (without node and script).
 *
 * @returns 'help' when that was asked for and has been printed @throws USAGE
 */
export function parseBenchOptions(argv: readonly string[], known: Known): BenchOptions | 'help' {
  const command = new Command('npm run bench --')
    .description('Measures templatefs side by side with its peers on a fresh file system. See docs/performance.md.')
    .option('--quick', 'fewer rounds, a smaller root, smaller files: some five minutes; a look, not a result')
    .option('--scenario <name...>', 'only these scenarios, or groups of them')
    .option('--peer <name...>', 'only these peers (the reference is always measured)')
    .option('--runs <n>', 'rounds of every scenario; default: three to ten, by how long it takes', parseRuns)
    .option('--json <file>', 'where the results go', 'bench/results/latest.json')
    .option('--page <file>', 'where the report page goes, an HTML file with plots', 'bench/results/latest.html')
    .option('--document <file>', 'also write the table into this document, between its marks (README.md has them)')
    .option('--from <file>', 'do not measure: report the JSON result of an earlier run')
    .option('--tar <file>', 'a root file system to measure with; default: one made by mmdebstrap')
    .option('--list', 'say which scenarios and peers there are')
    .allowExcessArguments(false)
    .configureOutput({ writeErr: () => undefined })
    .exitOverride();
  try {
    command.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 'help';
    throw new TemplatefsError('USAGE', error.message.replace(/^error: /, ''), { hint: 'see: npm run bench -- --help' });
  }
  const raw = command.opts<RawOptions>();
  const quick = raw.quick === true;
  return {
    quick,
    scenarios: checkNames('scenario', raw.scenario ?? [], known.scenarios),
    peers: checkNames('peer', raw.peer ?? [], known.peers),
    runs: raw.runs,
    jsonFile: raw.json,
    from: raw.from,
    pageFile: raw.page,
    document: raw.document,
    tar: raw.tar,
    list: raw.list === true,
  };
}
