import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HeldLocks, type HeldLock } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import type { IdMaps } from '../core/id-map.js';
import type { StorePaths } from '../core/store-paths.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { lockSubject } from './find-record.js';
import { holdContainer } from './hold-container.js';
import { mountLocked, type MountRequest } from './mount-container.js';
import { umountLocked } from './umount-container.js';

/** A container that is mounted for as long as `use` is held. */
export interface EnteredContainer {
  readonly root: string;
  readonly use: HeldLock;
  readonly ids: IdMaps | null;
  /** It was mounted for this caller. */
  readonly wasStopped: boolean;
  /** As long as {@link enteredBy} says the same, nobody else has entered it since. */
  readonly mark: string;
}

/** Who was the last to enter a container that is mounted for the time only; empty when that is not known. */
export function enteredBy(paths: StorePaths, name: string): string {
  const file = join(paths.run(name), 'entered');
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

function noteEntry(paths: StorePaths, name: string, mark: string): void {
  const file = join(paths.run(name), 'entered');
  try {
    writeFileSync(file, mark, { mode: 0o600 });
  } catch {
    // A full disk is no reason not to enter. Whoever entered before must not believe to be alone.
    rmSync(file, { force: true });
  }
}

/** A host name made of a container's name, which may hold characters that a host name may not. */
export function hostnameOf(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_.-]/g, '-').slice(0, 63);
}

/** Mounts if need be. The lock `use` keeps others from unmounting; that of the container is not held while it runs. */
export async function enterContainer(context: ServiceContext, name: string, options: Pick<MountRequest, 'ids'> = {}): Promise<EnteredContainer> {
  using _held = await holdContainer(context, name);
  const use = await lock(context, { name: `use-${name}`, what: `container ${name}`, mode: 'shared' });
  try {
    const { root, ids, already } = await mountLocked(context, { name, temporary: true, ...options });
    const mark = randomBytes(8).toString('hex');
    if (existsSync(context.paths.temporaryMount(name))) noteEntry(context.paths, name, mark);
    return { root, use, ids, wasStopped: !already, mark };
  } catch (error) {
    use.release();
    throw error;
  }
}

/** The last one out unmounts what was mounted for the time only; also after an interrupt. */
export async function leaveContainer(context: ServiceContext, name: string): Promise<void> {
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
