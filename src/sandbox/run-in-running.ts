// Runs one command in the namespaces of a container that runs already: its own pid, ipc, uts, network and mount namespaces, with no more
// capabilities than its first process can have. docs/sandbox.md, "A container that runs".

import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { totalmem } from 'node:os';
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import { sandboxEnvironment } from './environment.js';
import { seccompFilter } from './seccomp-filter.js';

export interface RunningOptions {
  /** Path of the engine's executable, which enters. */
  readonly engine: string;
  /** The container's root on the host. */
  readonly root: string;
  /** Of the first process: findFirstProcess. */
  readonly pid: number;
  /** A path in the container, and arguments. */
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** A folder of the host that the command sees at INPUT_FOLDER, read-only. */
  readonly input?: string;
  /** Kills the command, and all that it has started. */
  readonly signal?: AbortSignal;
}

const LIFELINE_FD = 3;
const FILTER_FD = 4;
/** How long output may come after the end: services that were started may keep a pipe open for ever. */
const QUIET_MS = 300;

/** Copies what a process writes, until it ends or `over` and nothing has come for a while. */
function copy(source: Readable, target: Writable, over: Promise<unknown>): Promise<void> {
  return new Promise((done) => {
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const end = (): void => {
      clearTimeout(timer);
      source.destroy();
      done();
    };
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(end, QUIET_MS);
    };
    source.on('data', (piece: Buffer) => {
      if (isOver) wait();
      if (!target.write(piece)) {
        source.pause();
        target.once('drain', () => source.resume());
      }
    });
    source.once('end', end).once('error', end);
    void over.then(() => {
      isOver = true;
      wait();
    });
  });
}

/**
 * Runs `command` and waits for its end. What it has started lives on when it succeeds, as children of the container's first process;
 * when it fails or is aborted, that is killed.
 *
 * @returns the exit status, 128 + n if signal n ended it, also when the container ended meanwhile
 * @throws FAILED when the container cannot be entered, INTERRUPTED when `signal` was aborted
 */
export async function runInRunning(options: RunningOptions): Promise<number> {
  const interrupted = (): TemplatefsError => new TemplatefsError('INTERRUPTED', `interrupted: ${options.command.join(' ')}`);
  const wasAborted = (): boolean => options.signal?.aborted === true;
  if (wasAborted()) throw interrupted();
  const filter = seccompFilter();
  const child = spawn(
    options.engine,
    [
      'enter', '--root', resolve(options.root), '--pid', `${options.pid}`, '--lifeline', `${LIFELINE_FD}`,
      ...(filter === undefined ? [] : ['--filter', `${FILTER_FD}`]),
      '--work-bytes', `${Math.floor(totalmem() / 4)}`,
      ...(options.input === undefined ? [] : ['--input', resolve(options.input)]),
      '--', ...options.command,
    ],
    {
      cwd: '/',
      env: sandboxEnvironment({ network: false, extra: options.env }),
      // Signals of a terminal are for this process alone: it says what they mean.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', filter === undefined ? 'ignore' : 'pipe'],
    },
  );
  let said = '';
  const ended = new Promise<{ readonly code: number | null; readonly signal: string | null }>((done, fail) => {
    child.once('error', (error) => { fail(new TemplatefsError('FAILED', `cannot start ${options.engine}: ${errnoOf(error) ?? error.message}`, { cause: error })); });
    child.once('exit', (code, signal) => { done({ code, signal }); });
  });
  const over = ended.catch(() => undefined);
  const [, output, errors, lifeline, filterPipe] = child.stdio as readonly unknown[];
  if (!(lifeline instanceof Socket) || !(output instanceof Socket) || !(errors instanceof Socket)) {
    await ended;
    throw new Error('started without pipes');
  }
  lifeline.on('error', () => undefined).on('data', (piece: Buffer) => { said += piece.toString('latin1'); });
  if (filter !== undefined && filterPipe instanceof Socket) filterPipe.on('error', () => undefined).end(filter);
  // It kills what it has started in the container before it ends: that must not be cut short.
  const abort = (): void => { lifeline.destroy(); };
  const stopListening = onAbort(options.signal, abort);
  try {
    const copied = Promise.all([copy(output, options.stdout, over), copy(errors, options.stderr, over)]);
    const { code, signal } = await ended;
    await copied;
    if (wasAborted()) throw interrupted();
    if (!said.startsWith('started\n')) {
      throw new TemplatefsError('FAILED', `the running container at ${options.root} cannot be entered (${signal ?? `exit status ${String(code)}`})`, {
        hint: 'the reason stands above; stop the container, and run the command again',
      });
    }
    const status = /^ended ([0-9]+)$/m.exec(said)?.[1];
    return status === undefined ? 137 : Number(status);
  } finally {
    stopListening();
  }
}
