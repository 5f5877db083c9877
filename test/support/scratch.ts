import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { readMounts, type MountEntry } from '../../src/engine/mount-table.js';
import { InProcessStore } from './in-process-store.js';
import { requireMountTests } from './project.js';
import { killStarted, runOk, runProgram } from './run-program.js';
import { TestStore } from './test-store.js';

/** File systems on which a store may lie; `overlay` is what a store in a container lies on. */
export type VolumeType = 'xfs' | 'btrfs' | 'tmpfs' | 'overlay';

const END_WAIT_MS = 10_000;

/**
 * A temporary folder for the tests of one file, with the stores in it. At the end of the file everything is unmounted and
 * ended, whatever the tests did; and the file fails if a mount or a process was left that templatefs itself could not end.
 */
export class Scratch {
  readonly folder: string;
  readonly #stores: TestStore[] = [];
  readonly #volumes: string[] = [];
  #folders = 0;
  #home: string;

  constructor() {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), 'templatefs-mount-test-')));
    // Tests of permissions go in as other users.
    chmodSync(this.folder, 0o711);
    this.#home = this.folder;
  }

  /** Makes a file system of its own, and mounts it. @returns its folder */
  async makeVolume(type: VolumeType): Promise<string> {
    const path = this.makeFolder(`volume-${type}`);
    this.#volumes.push(path);
    if (type === 'tmpfs') {
      await runOk('mount', ['-t', 'tmpfs', 'tmpfs', path]);
    } else if (type === 'overlay') {
      const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => this.makeFolder(name));
      await runOk('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, path]);
    } else {
      const image = this.path(`${type}.img`);
      await runOk('truncate', ['--size', '2G', image]);
      await runOk(`mkfs.${type}`, ['-q', image]);
      await runOk('mount', ['-t', type, '-o', 'loop', image, path]);
    }
    chmodSync(path, 0o711);
    return path;
  }

  /** From now on stores lie on a file system of their own. Its folder is fixed here, before it is mounted. */
  useVolume(type: VolumeType): void {
    const path = join(this.folder, 'home');
    this.#home = path;
    beforeAll(async () => {
      const volume = await this.makeVolume(type);
      mkdirSync(path);
      this.#volumes.push(path);
      await runOk('mount', ['--bind', volume, path]);
    });
  }

  /** A path that nothing has yet. */
  path(name: string): string {
    return join(this.folder, `${++this.#folders}-${name}`);
  }

  /** A new empty folder. */
  makeFolder(name = 'folder'): string {
    const path = this.path(name);
    mkdirSync(path);
    return path;
  }

  /** A store of its own; its folder is made by the first command. */
  makeStore(path = join(this.#home, `${++this.#folders}-store`)): TestStore {
    const store = new TestStore(path);
    this.#stores.push(store);
    return store;
  }

  /** The same for many commands one after another: they run in the test's own process. */
  makeInProcessStore(): TestStore {
    const store = new InProcessStore(join(this.#home, `${++this.#folders}-store`));
    this.#stores.push(store);
    return store;
  }

  /** Mounts below the folder, the last one first. */
  mounts(): MountEntry[] {
    return readMounts()
      .filter(({ mountpoint }) => mountpoint.startsWith(`${this.folder}/`))
      .reverse();
  }

  /** Processes that were given a path below the folder: engines, commands, sandboxes. */
  processes(): { pid: number; command: string }[] {
    return readdirSync('/proc').flatMap((name) => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return command.includes(this.folder) ? [{ pid: Number(name), command }] : [];
      } catch {
        return [];
      }
    });
  }

  /** @throws Error naming mounts and processes that only force could end */
  async cleanUp(): Promise<void> {
    killStarted();
    const problems: string[] = [];
    for (const store of this.#stores) problems.push(...(await store.unmountAll()));
    const deadline = performance.now() + END_WAIT_MS;
    while (performance.now() < deadline && (this.processes().length > 0 || this.mounts().some(({ mountpoint }) => !this.#volumes.includes(mountpoint)))) await sleep(50);
    for (const { pid, command } of this.processes()) {
      problems.push(`process ${pid} is left: ${command}`);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended since.
      }
    }
    for (const volume of this.#volumes.reverse()) {
      const ended = await runProgram('umount', ['--', volume]);
      if (ended.status !== 0 && this.mounts().some(({ mountpoint }) => mountpoint === volume)) problems.push(ended.stderr);
    }
    for (const { mountpoint, type } of this.mounts()) {
      problems.push(`a ${type} is left mounted at ${mountpoint}`);
      await runProgram('umount', ['-l', '--', mountpoint]);
    }
    // Not Node's own, which cannot remove names that are not UTF-8.
    await runProgram('rm', ['-rf', '--one-file-system', '--', this.folder]);
    if (problems.length > 0) throw new Error(`the tests of this file left something behind:\n  ${problems.join('\n  ')}`);
  }
}

function volumeType(name: string): VolumeType {
  const type = (['xfs', 'btrfs', 'tmpfs', 'overlay'] as const).find((known) => known === name);
  if (type === undefined) throw new Error(`TEMPLATEFS_TEST_VOLUME names no file system: ${name}`);
  return type;
}

/** To be called at the top of a test file. */
export function useScratch(): Scratch {
  const scratch = new Scratch();
  beforeAll(requireMountTests);
  const volume = process.env['TEMPLATEFS_TEST_VOLUME'];
  if (volume !== undefined) scratch.useVolume(volumeType(volume));
  afterAll(() => scratch.cleanUp());
  return scratch;
}
