import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { constants } from 'node:fs';
import { createInterface } from 'node:readline';
import { PYTHON, supportFile } from './project.js';

export const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

/** stat(2), without the `st_`. */
export interface Status {
  readonly mode: number;
  readonly ino: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly rdev: number;
  readonly blocks: number;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
}

interface Reply {
  readonly value?: unknown;
  readonly errno?: string;
  readonly mistake?: string;
}

/** A system call that failed. */
export class CallError extends Error {
  readonly errno: string;
  constructor(call: string, errno: string) {
    super(`${call}: ${errno}`);
    this.errno = errno;
  }
}

/**
 * A process that does system calls for a test: its descriptors stay open from call to call, its errnos are seen, and a
 * call that hangs does not take the test's own process with it.
 */
export class Agent {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting: { resolve: (reply: Reply) => void; reject: (error: Error) => void }[] = [];

  constructor() {
    this.#child = spawn(PYTHON, [supportFile('agent.py')], { stdio: 'pipe' });
    let stderr = '';
    this.#child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
    this.#child.stdin.on('error', () => undefined);
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#waiting.shift()?.resolve(JSON.parse(line) as Reply));
    this.#child.once('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the agent has ended: ${stderr}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Closes all its descriptors, and so is over. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #ask(call: string, args: readonly unknown[], kw: Readonly<Record<string, unknown>>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ call, args, kw })}\n`);
    });
  }

  /** Calls a function of agent.py or of Python's os; the last argument may be an object of keyword arguments. @throws CallError */
  async call(name: string, ...args: readonly unknown[]): Promise<unknown> {
    const last = args.at(-1);
    const hasKeywords = typeof last === 'object' && last !== null && !('hex' in last) && !Array.isArray(last);
    const reply = await this.#ask(name, hasKeywords ? args.slice(0, -1) : args, hasKeywords ? (last as Record<string, unknown>) : {});
    if (reply.mistake !== undefined) throw new Error(`${name}: ${reply.mistake}`);
    if (reply.errno !== undefined) throw new CallError(name, reply.errno);
    return reply.value;
  }

  /** The errno of a call, or OK. */
  async errno(name: string, ...args: readonly unknown[]): Promise<string> {
    try {
      await this.call(name, ...args);
      return 'OK';
    } catch (error) {
      if (error instanceof CallError) return error.errno;
      throw error;
    }
  }

  async open(path: string, flags: number = O_RDONLY, mode = 0o644): Promise<number> {
    return (await this.call('open', path, flags, mode)) as number;
  }

  async close(fd: number): Promise<void> {
    await this.call('close', fd);
  }

  /** Bytes at an offset as text. */
  async read(fd: number, length = 4096, offset = 0): Promise<string> {
    return Buffer.from((await this.call('pread', fd, length, offset)) as string, 'hex').toString('latin1');
  }

  async write(fd: number, text: string, offset = 0): Promise<void> {
    await this.call('pwrite', fd, hex(text), offset);
  }

  async map(fd: number, length: number, writable = false): Promise<number> {
    return (await this.call('map', fd, length, writable)) as number;
  }

  async mapRead(map: number, length: number, offset = 0): Promise<string> {
    return Buffer.from((await this.call('mapread', map, offset, length)) as string, 'hex').toString('latin1');
  }

  async mapWrite(map: number, text: string, offset = 0): Promise<void> {
    await this.call('mapwrite', map, offset, hex(text));
  }

  /** lstat(2) of a path, fstat(2) of a descriptor. */
  async stat(what: string | number): Promise<Status> {
    return (await (typeof what === 'number' ? this.call('fstat', what) : this.call('lstat', what))) as Status;
  }

  /** Opens, writes, closes. */
  async put(path: string, text: string, flags: number = O_WRONLY | O_CREAT | O_TRUNC): Promise<void> {
    const fd = await this.open(path, flags);
    await this.call('write', fd, hex(text));
    await this.close(fd);
  }

  /** The whole content as text. */
  async get(path: string): Promise<string> {
    const fd = await this.open(path);
    const text = await this.read(fd, 1 << 20);
    await this.close(fd);
    return text;
  }

  async names(path: string): Promise<string[]> {
    return ((await this.call('listdir', path)) as string[]).sort();
  }
}

/** Text as the bytes that {@link Agent.call} passes on. */
export function hex(text: string): { hex: string } {
  return { hex: Buffer.from(text, 'latin1').toString('hex') };
}
