import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { TemplatefsError } from '../core/errors.js';
import type { IdMaps } from '../core/id-map.js';
import { findEngine } from '../engine/engine-binary.js';
import { SERVICES_VARIABLE, type ContainerAnswer, type ContainerCommand, type ContainerPrograms } from '../packages/package-manager.js';
import { runInRunning } from '../sandbox/run-in-running.js';
import { runInSandbox } from '../sandbox/run-in-sandbox.js';
import { hostnameOf } from './use-container.js';

/** A dpkg database of 10,000 packages has 15 MB. */
const OUTPUT_LIMIT_BYTES = 64 << 20;
const ERROR_LINES_KEPT = 200;
const LINE_LIMIT = 4096;

export interface ProgramsOptions {
  readonly name: string;
  readonly root: string;
  readonly ids: IdMaps | null;
  readonly environment: Readonly<Record<string, string>>;
  /** The first process of a container that runs: programs run in its namespaces. Left out: in the sandbox. */
  readonly running?: number;
  readonly signal?: AbortSignal;
}

/** Calls `onLine` for each line, without what a terminal would do with it. */
class Lines extends Writable {
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';

  constructor(onLine: (line: string) => void) {
    super();
    this.#onLine = onLine;
  }

  override _write(piece: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const lines = (this.#rest + this.#decoder.write(piece)).split(/\r?\n/);
    this.#rest = (lines.pop() ?? '').slice(0, LINE_LIMIT);
    for (const line of lines) this.#emit(line);
    done();
  }

  override _final(done: () => void): void {
    if (this.#rest !== '') this.#emit(this.#rest);
    done();
  }

  #emit(line: string): void {
    // A container must not write control sequences to the terminal of the host's root.
    this.#onLine(line.slice(0, LINE_LIMIT).replaceAll(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '?'));
  }
}

/** Programs of a container whose root is mounted. */
export function packagePrograms(options: ProgramsOptions): ContainerPrograms {
  return { run: (command) => runScript(options, command) };
}

interface Started {
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly signal: AbortSignal;
}

async function start({ name, root, ids, running, environment }: ProgramsOptions, command: ContainerCommand, { stdout, stderr, signal }: Started): Promise<number> {
  const words = ['/bin/sh', '-c', command.script, 'sh', ...(command.arguments ?? [])] as const;
  const env = { [SERVICES_VARIABLE]: running === undefined ? 'none' : 'running', ...environment, ...command.environment };
  const input = command.input === undefined ? {} : { input: command.input };
  if (running !== undefined) {
    const [program, ...rest] = words;
    return runInRunning({ engine: await findEngine(), root, pid: running, command: [program, ...rest], env, stdout, stderr, signal, ...input });
  }
  return runInSandbox({
    root,
    hostname: hostnameOf(name),
    command: words,
    network: false,
    env,
    stdio: { stdout, stderr },
    leftRunning: 'kill',
    signal,
    ...input,
    ...(ids !== null && { userNamespace: { engine: await findEngine(), ids } }),
  });
}

async function runScript(options: ProgramsOptions, command: ContainerCommand): Promise<ContainerAnswer> {
  const errors: string[] = [];
  const pieces: Buffer[] = [];
  let size = 0;
  const flood = new AbortController();
  const signal = options.signal === undefined ? flood.signal : AbortSignal.any([options.signal, flood.signal]);
  const say = (line: string): void => command.onLine?.(line);
  const outputLines = new Lines(say);
  const stdout = new Writable({
    write(piece: Buffer, _encoding, done) {
      size += piece.length;
      if (size > OUTPUT_LIMIT_BYTES) flood.abort();
      else pieces.push(piece);
      if (command.onLine === undefined) done();
      else outputLines.write(piece, () => { done(); });
    },
  });
  const stderr = new Lines((line) => {
    errors.push(line);
    if (errors.length > ERROR_LINES_KEPT) errors.shift();
    say(line);
  });
  let status: number;
  try {
    status = await start(options, command, { stdout, stderr, signal });
  } catch (error) {
    if (!flood.signal.aborted) throw error;
    throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `a program of container ${options.name} wrote more than ${OUTPUT_LIMIT_BYTES >> 20} MiB`, { hint: 'look at what its package scripts do' });
  }
  outputLines.end();
  stderr.end();
  return { status, output: Buffer.concat(pieces).toString('utf8'), errors: errors.join('\n') };
}
