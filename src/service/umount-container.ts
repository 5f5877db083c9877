import { TemplatefsError, errnoOf } from '../core/errors.js';
import { cleanDeadEngine, detachMount, removeRunFiles, waitForEnd } from '../engine/clean-dead-engine.js';
import { controlRequest } from '../engine/control-client.js';
import { hasEngineName, settledEngineState, type EngineFile } from '../engine/engine-state.js';
import { isEngineMount, readMounts } from '../engine/mount-table.js';
import { FileSystemWrites } from '../store/file-system-writes.js';
import { lock, type ServiceContext } from './context.js';
import { removeDefaultRoot } from './default-root.js';
import { holdContainer } from './hold-container.js';

/** Stopping flushes what the container wrote, which may take its time on a slow disk. */
const STOP_TIMEOUT_MS = 120_000;
/** A mount namespace that was made meanwhile holds the mount until it ends, and with it the engine. */
const END_TIMEOUT_MS = 60_000;

export interface UmountOptions {
  readonly name: string;
  /**
   * Unmounts also while processes use the root. What they then ask of the engine fails; data of files that they have open by
   * passthrough can still be read and written until they close them.
   */
  readonly force?: boolean;
}

export interface UnmountedContainer {
  readonly name: string;
  /** Whether it was mounted. */
  readonly wasMounted: boolean;
}

/**
 * Unmounts a container whose lock the caller holds. When this returns, everything that the container wrote is durable
 * and nothing is left in `run/<ct>/`.
 *
 * @returns false if it was not mounted @throws BUSY, ENGINE_FAILED; IO_ERROR, NO_SPACE when not all of that could be written
 */
export async function umountLocked(context: ServiceContext, name: string, force: boolean): Promise<boolean> {
  const { paths } = context;
  const found = await settledEngineState(paths, name);
  if (found.state === 'stopped') {
    removeRunFiles(paths, name);
    removeDefaultRoot(paths, name);
    return false;
  }
  if (found.state === 'dead') {
    await cleanDeadEngine(paths, name, found);
    removeDefaultRoot(paths, name);
    context.onNotice?.(`cleared away what was left of an earlier mount of ${name}: ${found.reason}`);
    return false;
  }
  // From before the engine writes what it has left: nobody else asks it what of that failed.
  using writes = FileSystemWrites.begin(paths.privateArea(name));
  // The control socket lies in run/<ct>/: it must stay reachable until the engine has ended.
  try {
    await controlRequest(paths.controlSocket(name), force ? ['stop', 'force'] : ['stop'], { timeoutMs: STOP_TIMEOUT_MS });
  } catch (error) {
    if (error instanceof TemplatefsError && error.code === 'BUSY') {
      throw new TemplatefsError('BUSY', `the root of ${name} at ${found.engine.mountpoint} is in use`, {
        hint: `see by whom with \`fuser -vm ${found.engine.mountpoint}\`, or unmount it all the same: templatefs umount ${name} --force`,
        cause: error,
      });
    }
    // An engine may be gone before its answer was out: what counts is whether it is.
    if (!(await hasEnded(found.engine))) {
      if (!force) throw error;
      await endEngine(found.engine);
    }
  }
  if (!(await waitForEnd(found.engine.holder, END_TIMEOUT_MS))) {
    if (!force) {
      throw new TemplatefsError('ENGINE_FAILED', `the engine of ${name} (pid ${found.engine.holder}) does not end`, {
        hint: `see what it waits for, or end it: templatefs umount ${name} --force`,
      });
    }
    await endEngine(found.engine);
  }
  await detachMount(found.engine.mountpoint, found.engine.connection);
  // An engine that ends by itself has done so; here it is for the one that had to be ended, and for its error.
  await writes.sync();
  removeRunFiles(paths, name);
  removeDefaultRoot(paths, name);
  return true;
}

async function hasEnded(engine: EngineFile): Promise<boolean> {
  return !isEngineMount(readMounts(), engine.mountpoint, engine.connection) && (await waitForEnd(engine.holder, END_TIMEOUT_MS));
}

/** For an engine that does not answer: its processes are ended, if the pids still are its processes. */
async function endEngine(engine: EngineFile): Promise<void> {
  // The holder first, or it would start another worker.
  for (const pid of [engine.holder, engine.worker]) {
    if (pid < 2) continue;
    try {
      if (!hasEngineName(pid)) continue;
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ESRCH') throw error;
    }
  }
  await detachMount(engine.mountpoint, engine.connection);
}

/**
 * Unmounts a container. One that is not mounted is left as it is; what a crash left of its mount is cleared away.
 *
 * @throws CONTAINER_NOT_FOUND, BUSY, ENGINE_FAILED
 */
export async function umountContainer(
  context: ServiceContext,
  { name, force = false }: UmountOptions,
): Promise<UnmountedContainer> {
  using held = await holdContainer(context, name);
  const { locks } = held;
  // Whoever runs a command in the container holds this.
  if (!force) locks.hold(await lock(context, { name: `use-${name}`, what: `container ${name}`, mode: 'exclusive' }));
  const wasMounted = await umountLocked(context, name, force);
  return { name, wasMounted };
}
