import { existsSync } from 'node:fs';
import { runInSandbox } from '../sandbox/run-in-sandbox.js';
import { HeldLocks, type HeldLock } from '../catalog/lock.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import type { IdMaps } from '../core/id-map.js';
import { findEngine } from '../engine/engine-binary.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { findContainer, lockSubject } from './find-record.js';
import { mountLocked } from './mount-container.js';
import { umountLocked } from './umount-container.js';

export interface ExecOptions {
  readonly name: string;
  /** The program and its arguments, as seen in the container. */
  readonly command: readonly [string, ...string[]];
  readonly network: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Folder in the container; `/` if left out. */
  readonly workdir?: string;
  /** Called when the command is about to start: from then on signals of the user are meant for it. */
  readonly onStart?: () => void;
}

/** A host name made of a container's name, which may hold characters that a host name may not. */
function hostnameOf(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_.-]/g, '-').slice(0, 63);
}

/**
 * Runs a command in the sandbox on a container's root, with this process's stdin, stdout and stderr; while it runs,
 * signals to this process are passed on to it, and `context.signal` is not looked at. A container that
 * is not mounted is mounted for the time, and unmounted by the last `exec` that used it.
 *
 * @returns the command's exit status, 128 + N if signal N ended it
 * @throws CONTAINER_NOT_FOUND, BUSY, FUSE_UNAVAILABLE, ENGINE_FAILED, FAILED
 */
export async function execInContainer(context: ServiceContext, options: ExecOptions): Promise<number> {
  const { root, use, ids } = await enter(context, options.name);
  try {
    options.onStart?.();
    return await runInSandbox({
      root,
      hostname: hostnameOf(options.name),
      command: options.command,
      network: options.network,
      env: options.env,
      ...(options.workdir !== undefined && { workdir: options.workdir }),
      ...(ids !== null && { userNamespace: { engine: await findEngine(), ids } }),
      stdio: 'inherit',
    });
  } catch (error) {
    // What the kernel says of a FUSE mount without its engine.
    if (errnoOf(error) !== 'ENOTCONN') throw error;
    throw new TemplatefsError('ENGINE_FAILED', `the engine of ${options.name} has ended`, {
      hint: `run the command again: the root is mounted anew; run/${options.name}/log in the store may say why`,
      cause: error,
    });
  } finally {
    use.release();
    await leave(context, options.name);
  }
}

/** Mounts if need be. The lock `use` keeps others from unmounting; that of the container is not held while it runs. */
async function enter(context: ServiceContext, name: string): Promise<{ root: string; use: HeldLock; ids: IdMaps | null }> {
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findContainer(catalog, name);
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'container', name));
  findContainer(catalog, name);
  const use = await lock(context, { name: `use-${name}`, what: `container ${name}`, mode: 'shared' });
  try {
    const { root, ids } = await mountLocked(context, { name, temporary: true });
    return { root, use, ids };
  } catch (error) {
    use.release();
    throw error;
  }
}

/** The last one out unmounts what was mounted for the time only; also after an interrupt. */
async function leave(context: ServiceContext, name: string): Promise<void> {
  if (!existsSync(context.paths.temporaryMount(name))) return;
  // Without the signal: cleaning up goes on after an interrupt.
  const patient: ServiceContext = {
    paths: context.paths,
    ...(context.onNotice !== undefined && { onNotice: context.onNotice }),
  };
  try {
    using opened = await openForWriting(patient);
    using locks = new HeldLocks();
    locks.hold(await lockSubject({ ...patient, waitMs: 30_000 }, opened.catalog, 'container', name));
    locks.hold(await lock(patient, { name: `use-${name}`, what: `container ${name}`, mode: 'exclusive', waitMs: 0 }));
    if (existsSync(context.paths.temporaryMount(name))) await umountLocked(patient, name, false);
  } catch (error) {
    // Another command uses the container: it stays mounted for that one.
    if (error instanceof TemplatefsError && error.code === 'BUSY') return;
    throw error;
  }
}
