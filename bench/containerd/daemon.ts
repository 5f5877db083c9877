import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { openSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TemplatefsError } from '../../src/core/errors.js';
import { runProgram } from '../runner/run-program.js';

export interface DaemonOptions {
  /** On the volume: images and snapshots. */
  readonly folder: string;
  readonly snapshotter: 'overlayfs' | 'templatefs';
  readonly checkout: string;
  readonly signal: AbortSignal;
}

const START_WAIT_MS = 60_000;
let daemons = 0;

/** A containerd of our own, and our snapshotter beside it where that is measured. */
export class ContainerdDaemon {
  readonly folder: string;
  readonly snapshotter: string;
  readonly #signal: AbortSignal;
  readonly #runFolder: string;
  readonly #processes: ChildProcess[] = [];
  #runs = 0;

  private constructor({ folder, snapshotter, signal }: DaemonOptions) {
    this.folder = folder;
    this.snapshotter = snapshotter;
    this.#signal = signal;
    daemons += 1;
    // Sockets have short paths.
    this.#runFolder = `/run/templatefs-bench-${process.pid}-${daemons}`;
  }

  static async start(options: DaemonOptions): Promise<ContainerdDaemon> {
    const daemon = new ContainerdDaemon(options);
    try {
      await daemon.#start(options);
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return daemon;
  }

  /** Our store. */
  get store(): string {
    return join(this.folder, 'store');
  }

  /** What snapshots take on the disk is below it; the archives that both keep are not. */
  get snapshotFolder(): string {
    return this.snapshotter === 'templatefs' ? this.store : join(this.folder, 'root/io.containerd.snapshotter.v1.overlayfs');
  }

  ctr(...args: string[]): Promise<string> {
    return runProgram('ctr', ['--address', join(this.#runFolder, 'c.sock'), ...args], { signal: this.#signal });
  }

  /** @returns what the command writes, and when it was asked for, in nanoseconds since 1970 */
  async run(image: string, ...command: string[]): Promise<{ readonly stdout: string; readonly startedNs: number }> {
    this.#runs += 1;
    const startedNs = (performance.timeOrigin + performance.now()) * 1e6;
    const stdout = await this.ctr('run', '--rm', '--snapshotter', this.snapshotter, image, `run-${this.#runs}`, ...command);
    return { stdout, startedNs };
  }

  async #start({ checkout }: DaemonOptions): Promise<void> {
    await mkdir(this.#runFolder, { recursive: true });
    await mkdir(this.folder, { recursive: true });
    // In a mixed hierarchy runc meets controllers without the files that it expects. This mount namespace is the benchmarks' own.
    await runProgram('sh', ['-c', 'for name in memory unified; do umount /sys/fs/cgroup/$name 2>/dev/null || :; done'], { signal: this.#signal });
    await writeFile(join(this.#runFolder, 'config.toml'), `version = 2
root = "${this.folder}/root"
state = "${this.#runFolder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "${this.#runFolder}/c.sock"
[ttrpc]
  address = "${this.#runFolder}/t.sock"
[proxy_plugins.templatefs]
  type = "snapshot"
  address = "${this.#runFolder}/s.sock"
`);
    if (this.snapshotter === 'templatefs') {
      const log = this.#spawn(join(checkout, 'bin/templatefs'), ['--store', this.store, 'snapshotter', '--no-gc', '--address', join(this.#runFolder, 's.sock')], 'snapshotter');
      await this.#until(async () => (await readFile(log, 'utf8')).includes('serving containerd'), log);
    }
    const log = this.#spawn('containerd', ['--config', join(this.#runFolder, 'config.toml')], 'containerd');
    await this.#until(async () => this.ctr('version').then(() => true, () => false), log);
  }

  #spawn(program: string, args: readonly string[], name: string): string {
    const log = join(this.#runFolder, `${name}.log`);
    const fd = openSync(log, 'a');
    this.#processes.push(spawn(program, args, { stdio: ['ignore', fd, fd], detached: true }));
    closeSync(fd);
    return log;
  }

  async #until(isTrue: () => Promise<boolean>, log: string): Promise<void> {
    const deadline = performance.now() + START_WAIT_MS;
    while (!(await isTrue())) {
      this.#signal.throwIfAborted();
      if (performance.now() > deadline) throw new TemplatefsError('FAILED', `containerd does not start: ${(await readFile(log, 'utf8')).slice(-1000)}`, { hint: 'install it: npm run setup, or run it by hand with this configuration' });
      await sleep(20);
    }
  }

  /** Not interruptible. */
  async stop(): Promise<void> {
    for (const child of this.#processes.splice(0).reverse()) {
      if (child.exitCode !== null || child.pid === undefined) continue;
      const over = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      await over;
    }
    if (this.snapshotter === 'templatefs') {
      const mounts = await readFile('/proc/self/mounts', 'utf8');
      for (const line of mounts.split('\n')) {
        const mountpoint = line.split(' ')[1];
        if (mountpoint?.startsWith(`${this.store}/root/`) === true) await runProgram('umount', ['-f', '-l', mountpoint]).catch(() => '');
      }
    }
    await rm(this.#runFolder, { recursive: true, force: true });
    await rm(this.folder, { recursive: true, force: true });
  }
}
