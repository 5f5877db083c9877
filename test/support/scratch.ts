import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { readMounts, type MountEntry } from '../../src/engine/mount-table.js';
import { requireMountTests } from './project.js';
import { killStarted, runProgram } from './run-program.js';
import { TestStore } from './test-store.js';

const END_WAIT_MS = 10_000;

/**
 * A temporary folder for the tests of one file, with the stores in it. At the end of the file everything is unmounted and
 * ended, whatever the tests did; and the file fails if a mount or a process was left that templatefs itself could not end.
 */
export class Scratch {
  readonly folder: string;
  readonly #stores: TestStore[] = [];
  #folders = 0;

  constructor() {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), 'templatefs-mount-test-')));
    // Tests of permissions go in as other users.
    chmodSync(this.folder, 0o711);
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
  makeStore(path = this.path('store')): TestStore {
    const store = new TestStore(path);
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
    while (performance.now() < deadline && (this.processes().length > 0 || this.mounts().length > 0)) await sleep(50);
    for (const { pid, command } of this.processes()) {
      problems.push(`process ${pid} is left: ${command}`);
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended since.
      }
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

/** To be called at the top of a test file. */
export function useScratch(): Scratch {
  const scratch = new Scratch();
  beforeAll(requireMountTests);
  afterAll(() => scratch.cleanUp());
  return scratch;
}
