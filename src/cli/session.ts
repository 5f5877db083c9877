import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { TemplatefsError } from '../core/errors.js';
import { DEFAULT_STORE, StorePaths } from '../core/store-paths.js';
import type { ServiceContext } from '../service/context.js';
import { progressBar, type ProgressBar } from './progress.js';

/** Options that every command takes, before or after the verb. */
export interface GlobalOptions {
  readonly store?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** commander's form of `--no-progress`. */
  readonly progress?: boolean;
  readonly wait?: string;
}

/** One run of the program: where results and talk go, and what services need. */
export interface Session {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly context: ServiceContext;
  /** Prints the result of a command: JSON with `--json`, else what `human` makes of it. */
  result<Data>(data: Data, human: (data: Data) => string): void;
  /** Prints a result that has a form of its own, whatever the options. */
  text(text: string): void;
  /** Talk, on stderr; not with `--quiet`. */
  note(text: string): void;
  /** A line of a program that works for the user; not with `--quiet` or `--json`. */
  log(line: string): void;
  readonly bar: ProgressBar;
  /** Hands SIGINT and its like over to a command that runs in the user's terminal. */
  readonly leaveSignals: () => void;
}

/** How signals reach a command. */
export interface Interrupts {
  readonly signal: AbortSignal;
  /** Signals no longer abort. */
  readonly leave: () => void;
}

/** Seconds as users give them, as milliseconds. @throws USAGE */
export function parseSeconds(text: string): number {
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(seconds)) {
    throw new TemplatefsError('USAGE', `not a number of seconds: ${JSON.stringify(text)}`, { hint: 'for example: --wait 30' });
  }
  return Math.round(seconds * 1000);
}

/** The store's path as the kernel's mount table names what is in it: without symlinks, as far as it is there. */
function realStore(store: string): string {
  try {
    return realpathSync(store);
  } catch {
    return resolve(store);
  }
}

/** Opens the session of a command that was given these options. @throws USAGE */
export function openSession(options: GlobalOptions, interrupts: Interrupts): Session {
  const json = options.json === true;
  const quiet = options.quiet === true;
  const bar = progressBar(process.stderr, !json && !quiet && options.progress !== false);
  const store = options.store ?? process.env['TEMPLATEFS_STORE'];
  const note = (text: string): void => {
    if (quiet) return;
    bar.clear();
    process.stderr.write(`templatefs: ${text}\n`);
  };
  const log = (line: string): void => {
    if (quiet || json) return;
    bar.clear();
    process.stderr.write(`${line}\n`);
  };
  return {
    json,
    quiet,
    bar,
    note,
    log,
    leaveSignals: interrupts.leave,
    text(text) {
      bar.clear();
      process.stdout.write(text);
    },
    result(data, human) {
      bar.clear();
      process.stdout.write(json ? `${JSON.stringify(data, null, 2)}\n` : human(data));
    },
    context: {
      paths: new StorePaths(realStore(store === undefined || store === '' ? DEFAULT_STORE : store)),
      signal: interrupts.signal,
      ...(options.wait !== undefined && { waitMs: parseSeconds(options.wait) }),
      onProgress: (progress) => { bar.update(progress); },
      onNotice: note,
      onLog: log,
    },
  };
}
