import { spawn } from 'node:child_process';
import { TemplatefsError } from '../../src/core/errors.js';
import { isMounted, unmount, waitForEnd, waitUntil } from '../runner/mounts.js';

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** A FUSE daemon in the foreground, so that its end can be seen; in its own group, so that Ctrl-C leaves unmounting to us. */
export class Daemon {
  readonly #command: readonly [string, ...string[]];
  readonly #path: string;
  readonly #staysAfterUnmount: boolean;
  #pid: number | undefined;

  /** @param path where it mounts @param options.staysAfterUnmount it does not end by itself when it has lost its mount */
  constructor(command: readonly [string, ...string[]], path: string, options: { readonly staysAfterUnmount?: true } = {}) {
    this.#command = command;
    this.#path = path;
    this.#staysAfterUnmount = options.staysAfterUnmount === true;
  }

  get pids(): readonly number[] {
    return this.#pid === undefined ? [] : [this.#pid];
  }

  async mount(): Promise<void> {
    const [program, ...args] = this.#command;
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    let stderr = '';
    let ended = false;
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-1000)));
    child.once('error', (error) => {
      stderr = error.message;
      ended = true;
    });
    child.once('exit', () => (ended = true));
    this.#pid = child.pid;
    await waitUntil(`${program} has mounted`, () => ended || isMounted(this.#path));
    if (isMounted(this.#path)) return;
    if (child.pid !== undefined) kill(child.pid);
    throw new TemplatefsError('FAILED', `${program} did not mount: ${stderr.trim()}`);
  }

  async unmount(): Promise<void> {
    await unmount(this.#path);
    if (this.#staysAfterUnmount && this.#pid !== undefined) kill(this.#pid);
    await waitForEnd(this.#command[0], this.pids);
    this.#pid = undefined;
  }
}
