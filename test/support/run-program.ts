import { spawn, type ChildProcess } from 'node:child_process';
import { describeProcesses } from './describe-processes.js';

/** How a program ended, and what it said. */
export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Buffer;
  /** The program is killed after this time; 120 s if left out. */
  readonly timeoutMs?: number;
  /** Told of the process as soon as it runs. */
  readonly onStart?: (child: ChildProcess) => void;
}

/** A program that leaves a daemon behind may never close its pipes. */
const PIPES_WAIT_MS = 300;

const started = new Set<ChildProcess>();

/** Ends whatever {@link runProgram} started and is still running. */
export function killStarted(): void {
  for (const child of started) child.kill('SIGKILL');
}

/** Runs a program to its end. Whatever it ends with is a result: nothing but a missing program is thrown. */
export function runProgram(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    started.add(child);
    const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    child.stdout.on('data', (piece: Buffer) => output.stdout.push(piece));
    child.stderr.on('data', (piece: Buffer) => output.stderr.push(piece));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    options.onStart?.(child);

    const { timeoutMs = 120_000 } = options;
    let late: string | undefined;
    const timer = setTimeout(() => {
      late = child.pid === undefined ? '' : describeProcesses(child.pid);
      child.kill('SIGKILL');
    }, timeoutMs);
    let done = false;
    const finish = (status: number | null, signal: NodeJS.Signals | null): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      started.delete(child);
      child.stdout.destroy();
      child.stderr.destroy();
      const text = (name: 'stdout' | 'stderr'): string => Buffer.concat(output[name]).toString('utf8');
      const note = late === undefined ? '' : `\n(killed: it did not end within ${timeoutMs} ms)\n${late}`;
      resolve({ status, signal, stdout: text('stdout'), stderr: text('stderr') + note });
    };
    child.once('error', (error) => {
      clearTimeout(timer);
      started.delete(child);
      reject(error);
    });
    child.once('close', finish);
    child.once('exit', (status, signal) => setTimeout(finish, PIPES_WAIT_MS, status, signal));
  });
}

/** Runs a program that must succeed. @returns its stdout @throws Error with what it said */
export async function runOk(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ended = await runProgram(file, args, options);
  if (ended.status === 0) return ended.stdout;
  throw new Error(
    `\`${[file, ...args].join(' ')}\` ended with ${ended.signal ?? String(ended.status)}\n${ended.stderr}\n${ended.stdout.slice(-4000)}`,
  );
}
