import { setTimeout as sleep } from 'node:timers/promises';
import { TemplatefsError } from '../../src/core/errors.js';
import { processStart } from '../../src/catalog/process-identity.js';
import { readMounts } from '../../src/engine/mount-table.js';
import { runProgram } from './run-program.js';

const PATIENCE_MS = 15_000;

/** Polls until `done`; for what the kernel does not tell. @throws FAILED naming `what` after 15 seconds */
export async function waitUntil(what: string, done: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!done()) {
    if (performance.now() > deadline) throw new TemplatefsError('FAILED', `gave up waiting until ${what}`);
    await sleep(2);
  }
}

export function isMounted(path: string): boolean {
  return readMounts().some((mount) => mount.mountpoint === path);
}

/** Waits until processes have ended. One that only waits to be reaped has: dead FUSE daemons may do that for seconds. */
export async function waitForEnd(name: string, pids: readonly number[]): Promise<void> {
  await waitUntil(`${name} (pid ${pids.join(', ')}) has ended`, () => pids.every((pid) => processStart(pid) === undefined));
}

/** umount(8), with patience for somebody who is just looking at the mount. Not interruptible: it cleans up. */
export async function unmount(path: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    if (!isMounted(path)) return;
    try {
      await runProgram('umount', [path]);
      return;
    } catch (error) {
      if (performance.now() <= deadline) {
        await sleep(50);
        continue;
      }
      // Nothing may stay; the file system itself goes with its last user.
      await runProgram('umount', ['--lazy', path]);
      throw error;
    }
  }
}
