import { spawn } from 'node:child_process';
import { TemplatefsError, errnoOf } from '../../src/core/errors.js';

export interface RunOptions {
  /** Kills the program. */
  readonly signal?: AbortSignal;
  /** Default: none, so that the program sees the end of its input at once. */
  readonly stdin?: 'inherit' | 'ignore';
  readonly cwd?: string;
  /** Beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a program to its end, in a process group of its own: an interrupt from the terminal reaches this process, which
 * then decides what is to be undone and how.
 *
 * @returns its stdout @throws FAILED with command, exit status and stderr; INTERRUPTED
 */
export function runProgram(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { signal, stdin = 'ignore', cwd, env } = options;
  const command = [program, ...args].join(' ');
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new TemplatefsError('INTERRUPTED', `interrupted before ${program}`));
      return;
    }
    const child = spawn(program, args, {
      stdio: [stdin, 'pipe', 'pipe'],
      detached: true,
      ...(cwd !== undefined && { cwd }),
      ...(env !== undefined && { env: { ...process.env, ...env } }),
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-4096)));
    const abort = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL'); // with what it has started
      } catch {
        // It has ended by itself.
      }
    };
    signal?.addEventListener('abort', abort, { once: true });
    const finish = (error?: TemplatefsError): void => {
      signal?.removeEventListener('abort', abort);
      if (signal?.aborted === true) reject(new TemplatefsError('INTERRUPTED', `interrupted during ${program}`));
      else if (error !== undefined) reject(error);
      else resolve(stdout);
    };
    child.once('error', (error) => {
      finish(new TemplatefsError('FAILED', `cannot run ${program}: ${errnoOf(error) ?? error.message}`, { hint: 'run: npm run setup', cause: error }));
    });
    child.once('close', (status, killedBy) => {
      if (status === 0) {
        finish();
        return;
      }
      const how = killedBy === null ? `exit status ${status ?? 'unknown'}` : `killed by ${killedBy}`;
      finish(new TemplatefsError('FAILED', `${command}: ${how}${stderr.trim() === '' ? '' : `\n${stderr.trim()}`}`));
    });
  });
}
