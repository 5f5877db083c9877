import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';

export interface ToolRun {
  /** Absolute path of a program of the host. */
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment beside PATH, HOME and LC_ALL. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called with each line on stdout and stderr. */
  readonly onLine?: (line: string) => void;
  /** Kills the program and whatever it started in its process group. */
  readonly signal?: AbortSignal;
}

export interface ToolEnd {
  /** 128 + n if signal n ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const PROXIES = ['http_proxy', 'https_proxy', 'ftp_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [name, name.toUpperCase()]);

/** A clean environment: the proxies are the host's, nothing else is. */
function toolEnvironment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const environment: Record<string, string> = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C.UTF-8' };
  for (const name of PROXIES) {
    const value = process.env[name];
    if (value !== undefined && value !== '') environment[name] = value;
  }
  return { ...environment, ...more };
}

/**
 * Runs a program of the host to its end, whatever that is. It must be one that says little: what it writes is kept.
 *
 * @throws FAILED when it cannot be started, INTERRUPTED when `signal` was aborted
 */
export async function runTool(run: ToolRun): Promise<ToolEnd> {
  const interrupted = (): TemplatefsError => new TemplatefsError('INTERRUPTED', `interrupted: ${run.file}`);
  const wasAborted = (): boolean => run.signal?.aborted === true;
  if (wasAborted()) throw interrupted();
  const child = spawn(run.file, run.args, { cwd: '/', env: toolEnvironment(run.env), detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  const stderr: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  if (run.onLine !== undefined) createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', run.onLine);
  createInterface({ input: child.stderr, crlfDelay: Infinity }).on('line', (line) => {
    stderr.push(line);
    run.onLine?.(line);
  });
  child.stdin.on('error', () => undefined); // it ended before it read this; its exit status tells
  child.stdin.end(run.input ?? '');
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };
  const stopListening = onAbort(run.signal, kill);
  try {
    const status = await new Promise<number>((done, fail) => {
      child.once('error', (error) => {
        fail(new TemplatefsError('FAILED', `cannot start ${run.file}: ${errnoOf(error) ?? error.message}`, { cause: error }));
      });
      child.once('close', (code) => {
        done(code ?? 137);
      });
    });
    if (wasAborted()) throw interrupted();
    return { status, stdout, stderr: stderr.join('\n') };
  } finally {
    stopListening();
  }
}
