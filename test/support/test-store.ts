import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { CLI, ENGINE } from './project.js';
import { runOk, runProgram, type Ended, type RunOptions } from './run-program.js';

/** The last line of stderr of a command that failed with `--json`. */
export interface JsonError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** The fields of `info CT --json` that tests look at. */
export interface ContainerState {
  readonly state: string;
  readonly root: string | null;
  readonly enginePid: number | null;
  readonly passthrough: boolean | null;
  readonly passthroughReason: string | null;
  readonly engineRestarts: number | null;
  readonly engineVersion: string | null;
  readonly privateFiles: number;
  readonly privateBytes: number;
  readonly links: number;
  readonly stale: string | null;
}

/** A store that is driven as a user would: by the command line. */
export class TestStore {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Runs one command on the store, whatever it ends with. */
  run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return runProgram(CLI, ['--store', this.path, ...args], options);
  }

  /** Runs one command that must succeed. @returns its stdout without the last newline */
  async ok(...args: string[]): Promise<string> {
    const text = await runOk(CLI, ['--store', this.path, ...args]);
    return text.replace(/\n$/, '');
  }

  /** Runs one command that must succeed, with `--json`. */
  async json(...args: string[]): Promise<unknown> {
    return JSON.parse(await runOk(CLI, ['--store', this.path, '--json', ...args])) as unknown;
  }

  async info(container: string): Promise<ContainerState> {
    return (await this.json('info', container)) as ContainerState;
  }

  /**
   * Runs one command that must fail, for people and with `--json`: with this exit status, this code, a message that
   * holds `message`, and a hint.
   *
   * @returns the JSON error
   */
  async refuses(args: readonly string[], wanted: { status: number; code: string; message: RegExp }, options: RunOptions = {}): Promise<JsonError> {
    return expectRefusal((more) => this.run([...more, ...args], options), wanted);
  }

  /** `import` and `create`: a template of a folder or an archive, and containers of it. */
  async make(source: string, ...containers: string[]): Promise<void> {
    await this.ok('template', 'import', 't', source);
    for (const container of containers) await this.ok('create', container, '--ostemplate', 't');
  }

  /** Mounts with the command line. @returns the root */
  mount(container: string, ...options: string[]): Promise<string> {
    return this.ok('mount', container, ...options);
  }

  async remount(container: string): Promise<string> {
    await this.ok('umount', container);
    return this.mount(container);
  }

  /** Mounts with the engine itself. @returns the root */
  async mountEngine(container: string, ...options: string[]): Promise<string> {
    const root = join(this.path, 'root', container);
    mkdirSync(root, { recursive: true });
    await runOk(ENGINE, ['mount', '--store', this.path, '--container', container, '--mountpoint', root, ...options]);
    return root;
  }

  /** What the running engine wrote about itself. */
  engineFile(container: string): Map<string, string> {
    const lines = readFileSync(join(this.path, 'run', container, 'engine'), 'utf8').trim().split('\n');
    return new Map(lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
  }

  workerPid(container: string): number {
    return Number(this.engineFile(container).get('worker'));
  }

  /** Kills the worker and waits until the next one has taken over. */
  async killWorker(container: string): Promise<void> {
    const pid = this.workerPid(container);
    process.kill(pid, 'SIGKILL');
    const deadline = performance.now() + 10_000;
    while (this.workerPid(container) === pid) {
      if (performance.now() > deadline) throw new Error(`no worker has taken over from ${pid}`);
      await sleep(2);
    }
  }

  /** Everything that must never change: each object and tree with its content, mode, owner, links and mtime. */
  sharedFiles(): Map<string, string> {
    const found = new Map<string, string>();
    for (const folder of ['objects', 'trees']) {
      if (!existsSync(join(this.path, folder))) continue;
      for (const name of readdirSync(join(this.path, folder), { recursive: true, encoding: 'utf8' })) {
        const path = join(this.path, folder, name);
        const status = statSync(path);
        if (!status.isFile()) continue;
        const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
        found.set(`${folder}/${name}`, `${digest} ${status.mode.toString(8)} ${status.uid} ${status.nlink} ${status.mtimeMs}`);
      }
    }
    return found;
  }

  /** `verify` finds nothing. */
  async expectSound(): Promise<void> {
    const result = await this.run(['--json', 'verify']);
    expect({ status: result.status, problems: (JSON.parse(result.stdout) as { problems: unknown[] }).problems }, result.stderr).toEqual({ status: 0, problems: [] });
  }

  /** Unmounts every container by force. @returns what went wrong */
  async unmountAll(): Promise<string[]> {
    const run = join(this.path, 'run');
    if (!existsSync(run)) return [];
    const problems: string[] = [];
    // What a test mounted by the engine alone, without a container in the catalog, it must unmount itself.
    const known = existsSync(join(this.path, 'private')) ? readdirSync(join(this.path, 'private')) : [];
    for (const container of readdirSync(run).filter((name) => known.includes(name) && existsSync(join(run, name, 'engine')))) {
      const ended = await this.run(['umount', container, '--force', '--wait', '10']);
      // Tests that break a catalog on purpose unmount for themselves.
      if (ended.status !== 0 && ended.status !== 12) problems.push(`umount ${container}: ${ended.stderr}`);
    }
    return problems;
  }
}

/** Runs a command twice, for people and with `--json`, and looks at how it fails. */
export async function expectRefusal(
  run: (more: readonly string[]) => Promise<Ended>,
  wanted: { readonly status: number; readonly code: string; readonly message: RegExp },
): Promise<JsonError> {
  const human = await run([]);
  expect(human.stderr).toMatch(/^templatefs: /m);
  expect(human.stderr).toMatch(/^ {2}hint: \S/m);
  expect(human.stderr).not.toMatch(/^ {4}at /m);
  expect(human.status, human.stderr).toBe(wanted.status);
  const machine = await run(['--json']);
  expect(machine.status, machine.stderr).toBe(wanted.status);
  const { error } = JSON.parse(machine.stderr.trimEnd().split('\n').at(-1) ?? '') as { error: JsonError };
  expect(error.code, error.message).toBe(wanted.code);
  expect(error.message).toMatch(wanted.message);
  expect(error.hint, error.message).toMatch(/\S/);
  return error;
}
