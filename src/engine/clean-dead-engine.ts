import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { processStart } from '../catalog/process-identity.js';
import { TemplatefsError, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { controlRequest } from './control-client.js';
import type { DeadEngine } from './engine-state.js';
import { isEngineMount, readMounts } from './mount-table.js';

const STOP_WAIT_MS = 60_000;

/**
 * Detaches the roots of engines that are mounted at `mountpoint`; processes inside see errors, as their engine is gone.
 *
 * @param connection only that engine's, where it is known: its place may be another's by now
 */
export async function detachMount(mountpoint: string, connection: number | null = null): Promise<void> {
  while (isEngineMount(readMounts(), mountpoint, connection)) {
    try {
      await promisify(execFile)('umount', ['-l', '--', mountpoint]);
    } catch (error) {
      throw new TemplatefsError('FAILED', `cannot unmount the dead root ${mountpoint}`, {
        hint: `run as root: umount -l ${mountpoint}`,
        cause: error,
      });
    }
  }
}

/** Removes what an engine leaves in `run/<ct>/`. */
export function removeRunFiles(paths: StorePaths, container: string): void {
  try {
    rmSync(paths.run(container), { recursive: true, force: true });
  } catch (error) {
    throw storeWriteError(error, paths.run(container));
  }
}

/** Waits until a process is gone. @returns false if it is still there after `timeoutMs` */
export async function waitForEnd(pid: number, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (processStart(pid) !== undefined) {
    if (performance.now() >= deadline) return false;
    await sleep(10);
  }
  return true;
}

/**
 * Clears away what a crash or a reboot left of an engine: its mount, its socket and its state. The private area is not
 * touched. The caller holds the container's lock.
 *
 * @throws FAILED if the mount cannot be detached, ENGINE_FAILED if a live engine that lost its mount does not end
 */
export async function cleanDeadEngine(
  paths: StorePaths,
  container: string,
  found: DeadEngine,
): Promise<void> {
  await detachMount(paths.root(container));
  if (found.engine !== null && !found.rebooted) await detachMount(found.engine.mountpoint, found.engine.connection);
  // An engine may live on without its mount (someone detached it): it must end before another takes the private area.
  try {
    const status = await controlRequest(paths.controlSocket(container), ['status'], { timeoutMs: 2_000 });
    const holder = Number(status.get('holder'));
    await controlRequest(paths.controlSocket(container), ['stop', 'force'], { timeoutMs: STOP_WAIT_MS }).catch(() => undefined);
    if (holder > 1 && !(await waitForEnd(holder, STOP_WAIT_MS))) {
      throw new TemplatefsError('ENGINE_FAILED', `the engine of ${container} (pid ${holder}) lost its mount and does not end`, {
        hint: `see what it waits for, then end it: kill ${holder}`,
      });
    }
  } catch (error) {
    // No answer at all is what a dead engine gives.
    if (error instanceof TemplatefsError && error.message.includes('does not end')) throw error;
  }
  removeRunFiles(paths, container);
}
