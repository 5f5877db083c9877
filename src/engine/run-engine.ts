import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { TemplatefsError, type ErrorCode } from '../core/errors.js';
import { findEngine } from './engine-binary.js';
import { EngineLauncher } from './engine-launcher.js';

const STDERR_LIMIT_BYTES = 64 * 1024;
const PIPES_WAIT_MS = 500;
/** A shell adds the number of the signal that ended a program. */
const SIGNAL_STATUS = 128;

/** Codes that an engine may answer with, and what to do about them. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  FUSE_UNAVAILABLE: 'see that /dev/fuse is there (modprobe fuse) and that you are root outside of a restricted container',
  USAGE: 'see `templatefs mount --help`',
  BUSY: 'see what uses it with `templatefs info` and `fuser -vm`, then run the command again',
  BAD_TREE: 'run `templatefs verify`; a tree is restored by importing its template again',
  INTEGRITY: 'run `templatefs verify` to see what is broken',
  NO_SPACE: 'free some space on the file system of the store (templatefs gc, df -h, df -i), then run the command again',
  STORE_NOT_WRITABLE: 'run as root on a store that is mounted read-write (findmnt, dmesg), or name another with --store DIR',
  IO_ERROR: 'look at dmesg: the disk below the store reports errors',
  FAILED: 'look at dmesg and at run/CT/log in the store, then run the command again',
  ENGINE_FAILED: 'look at dmesg and at run/CT/log in the store, then run the command again',
};

const KNOWN_CODES = new Set<string>([
  'USAGE',
  'FAILED',
  'CONTAINER_NOT_FOUND',
  'CONTAINER_MOUNTED',
  'BUSY',
  'INTEGRITY',
  'BAD_TREE',
  'FUSE_UNAVAILABLE',
  'ENGINE_FAILED',
  'ENGINE_MISMATCH',
  'STORE_NOT_WRITABLE',
  'NO_SPACE',
  'IO_ERROR',
  'INTERRUPTED',
] satisfies ErrorCode[]);

/** Exit statuses of the engine that say more than "failed", for an engine that could not name a code. */
const STATUS_CODES: Readonly<Record<number, ErrorCode>> = {
  10: 'CONTAINER_NOT_FOUND',
  11: 'BUSY',
  12: 'INTEGRITY',
  13: 'FUSE_UNAVAILABLE',
};

/** The error for a code and message that an engine answered with; unknown codes become ENGINE_FAILED. */
export function engineError(code: string, message: string): TemplatefsError {
  // The worker has asked its holder, or the other way round, and nobody is there any more: in a moment the root is gone, too.
  if (code === 'FAILED' && /^(?:Broken pipe|Connection reset by peer)$/.test(message)) {
    return new TemplatefsError('ENGINE_FAILED', `a process of the engine has ended: ${message}`, { hint: 'run the command again' });
  }
  const known = (KNOWN_CODES.has(code) ? code : 'ENGINE_FAILED') as ErrorCode;
  const hint = HINTS[known];
  const text = known === code || code === '' ? message : `${code}: ${message}`;
  return new TemplatefsError(known, text, hint === undefined ? {} : { hint });
}

/** The error for an engine that ended with a status other than 0: its own line if it wrote one, else how it ended. */
export function engineExitError(verb: string, status: number | null, signal: string | null, stderr: string): TemplatefsError {
  const line = /^templatefs-engine: ([A-Z_]+): (.*)$/m.exec(stderr);
  if (line?.[1] !== undefined && line[2] !== undefined) return engineError(line[1], line[2]);
  const how = signal === null ? `with status ${status ?? 'unknown'}` : `by ${signal}`;
  const said = stderr.trim() === '' ? '' : `: ${stderr.trim().slice(-500)}`;
  const code = (status === null ? undefined : STATUS_CODES[status]) ?? 'ENGINE_FAILED';
  return engineError(code, `templatefs-engine ${verb} ended ${how}${said}`);
}

export interface EngineRun {
  readonly verb: 'mount' | 'scan' | 'resident' | 'dump' | 'syncfs' | 'area';
  readonly arguments: readonly string[];
  /** What the engine reads from stdin. */
  readonly input?: Buffer;
  /** The same as it comes; an error of the stream ends the engine. */
  readonly inputStream?: Readable;
  /** Reads stdout as fast as it likes; the run ends with it. Not with `onOutput`. */
  readonly consume?: (stdout: Readable) => Promise<void>;
  /** Called with each piece of stdout as it comes. */
  readonly onOutput?: (piece: Buffer) => void;
  readonly signal?: AbortSignal;
  /** Starts it in place of this process; neither with input nor with `consume` or a signal. */
  readonly launcher?: EngineLauncher;
}

/**
 * Runs one verb of the engine to its end. `mount` leaves processes behind; should one of them keep a pipe open, the end is that of the
 * command.
 *
 * @throws what the engine's error line says; ENGINE_FAILED, ENGINE_MISMATCH, INTERRUPTED
 */
export async function runEngine(run: EngineRun): Promise<void> {
  const binary = await findEngine();
  run.signal?.throwIfAborted();
  const { launcher } = run;
  if (launcher !== undefined && EngineLauncher.takes([binary, ...run.arguments])) {
    await launch(launcher, binary, run);
    return;
  }
  await new Promise<void>((resolve, reject) => {
    // Its own group: an interrupt from the terminal reaches this process, which then decides.
    const child = spawn(binary, [run.verb, ...run.arguments], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    let stderr = '';
    let failed: unknown;
    let ended: { status: number | null; signal: NodeJS.Signals | null } | undefined;

    const abort = (): void => void child.kill('SIGTERM');
    run.signal?.addEventListener('abort', abort, { once: true });
    const finish = (): void => {
      run.signal?.removeEventListener('abort', abort);
      for (const stream of child.stdio) stream?.destroy();
      if (run.signal?.aborted === true) reject(asError(run.signal.reason));
      else if (failed !== undefined) reject(asError(failed));
      else if (ended?.status === 0) resolve();
      else reject(engineExitError(run.verb, ended?.status ?? null, ended?.signal ?? null, stderr));
    };

    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr.length < STDERR_LIMIT_BYTES) stderr += text;
    });
    const consumed = run.consume?.(child.stdout).catch((error: unknown) => {
      failed ??= error;
      child.kill('SIGTERM');
      child.stdout.resume();
    });
    if (consumed === undefined) child.stdout.on('data', (piece: Buffer) => {
      if (failed !== undefined) return;
      try {
        run.onOutput?.(piece);
      } catch (error) {
        failed = error;
        child.kill('SIGTERM');
      }
    });
    // The engine may end before it has read everything; its exit status says why.
    child.stdin.on('error', () => undefined);
    if (run.inputStream === undefined) child.stdin.end(run.input);
    else {
      run.inputStream.on('error', (error) => {
        failed ??= error;
        child.kill('SIGTERM');
      });
      run.inputStream.pipe(child.stdin);
    }
    child.on('error', (error) => {
      failed = new TemplatefsError('ENGINE_FAILED', `cannot run ${binary}`, { hint: 'build it: npm run setup', cause: error });
      finish();
    });
    child.on('exit', (status, signal) => {
      ended = { status, signal };
      // The engine lets go of the pipes before the command ends. Whatever else has them must not be waited for.
      if (run.verb === 'mount') setTimeout(finish, PIPES_WAIT_MS).unref();
    });
    child.on('close', () => void (consumed ?? Promise.resolve()).then(finish));
  });
}

async function launch(launcher: EngineLauncher, binary: string, { verb, arguments: words, onOutput }: EngineRun): Promise<void> {
  const { status, output } = await launcher.run([binary, verb, ...words]).catch((cause: unknown) => {
    throw engineError('ENGINE_FAILED', `templatefs-engine ${verb} was cut short: ${asError(cause).message}`);
  });
  if (status > SIGNAL_STATUS) throw engineExitError(verb, null, `signal ${status - SIGNAL_STATUS}`, output);
  if (status !== 0) throw engineExitError(verb, status, null, output);
  // What it says to people comes the same way.
  const said = output.split('\n').filter((line) => !line.startsWith('templatefs-engine: '));
  // The shell has taken the last newline.
  onOutput?.(Buffer.from(`${said.join('\n')}\n`));
}

function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
