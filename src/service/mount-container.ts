import { mkdirSync, realpathSync, rmSync, statSync, writeFileSync, existsSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { readContainerFile } from '../catalog/container-file.js';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import { sameIdMaps, type IdMaps } from '../core/id-map.js';
import type { StorePaths } from '../core/store-paths.js';
import { cleanDeadEngine, removeRunFiles } from '../engine/clean-dead-engine.js';
import { settledEngineState } from '../engine/engine-state.js';
import { checkFuse, mountEngine } from '../engine/mount-engine.js';
import { readMounts } from '../engine/mount-table.js';
import { openForWriting, type ServiceContext } from './context.js';
import { defaultRootPath, makeDefaultRoot, removeDefaultRoot } from './default-root.js';
import { findContainer, lockSubject } from './find-record.js';

export interface MountContainerOptions {
  readonly name: string;
  /** An existing folder; the container's folder below `root/` in the store if left out. */
  readonly mountpoint?: string;
  readonly passthrough?: boolean;
  /** In place of the container's setting; null: ids are as they are. */
  readonly ids?: IdMaps | null;
  /** As after `mount -o`. */
  readonly mountOptions?: string;
}

export interface MountedContainer {
  readonly name: string;
  readonly root: string;
  /** Whether it was mounted there already. */
  readonly already: boolean;
  /** How its ids are mapped there; null: not at all. */
  readonly ids: IdMaps | null;
}

/** Checks a mount point that the user named. @returns its real path @throws USAGE, BUSY */
function checkMountpoint(paths: StorePaths, name: string, given: string): string {
  let real: string;
  const absolute = resolve(given);
  try {
    real = realpathSync(absolute);
    if (!statSync(real).isDirectory()) throw new Error('not a folder');
  } catch (error) {
    // A root whose engine is dead lies there; mounting clears it away, if it is this container's.
    if (errnoOf(error) === 'ENOTCONN') return join(realpathSync(dirname(absolute)), basename(absolute));
    throw new TemplatefsError('USAGE', `the mount point ${given} is no folder`, {
      hint: `make it first: mkdir -p ${given}`,
      cause: error,
    });
  }
  const store = existsSync(paths.store) ? realpathSync(paths.store) : paths.store;
  if ((real === store || real.startsWith(store + sep) || store.startsWith(real === '/' ? '/' : real + sep)) && real !== defaultRootPath(paths, name)) {
    throw new TemplatefsError('USAGE', `the mount point ${real} would hide a part of the store, or lie within it`, {
      hint: 'name a folder elsewhere, or leave it out',
    });
  }
  return real;
}

/** What a caller that holds the container's lock asks for. */
export interface MountRequest {
  readonly name: string;
  /** A checked folder; undefined asks for the default place, or for wherever it is mounted already. */
  readonly mountpoint?: string;
  readonly passthrough?: boolean;
  readonly ids?: IdMaps | null;
  readonly mountOptions?: string;
  /** Mounted only for the time of an `exec`. */
  readonly temporary: boolean;
}

/**
 * Mounts a container whose lock the caller holds, after clearing away what a crash left of it.
 *
 * @throws FUSE_UNAVAILABLE, BUSY when it is mounted elsewhere, and what the engine says
 */
export async function mountLocked(context: ServiceContext, request: MountRequest): Promise<MountedContainer> {
  const { paths, signal } = context;
  const { name } = request;
  const found = await settledEngineState(paths, name);
  if (found.state === 'mounted') {
    const root = found.engine.mountpoint;
    if (request.mountpoint !== undefined && request.mountpoint !== root) {
      throw new TemplatefsError('BUSY', `container ${name} is mounted at ${root} already`, {
        hint: `use it there, or unmount it first: templatefs umount ${name}`,
      });
    }
    const different = request.mountOptions !== undefined ? 'its mount options' : request.ids !== undefined && !sameIdMaps(request.ids, found.engine.ids) ? 'its map of ids' : undefined;
    if (different !== undefined) {
      throw new TemplatefsError('BUSY', `container ${name} is mounted at ${root} already: ${different} cannot be set now`, {
        hint: `unmount it first: templatefs umount ${name}`,
      });
    }
    // Whoever asks for a mount that stays gets one, also when an `exec` made it for itself.
    if (!request.temporary) rmSync(paths.temporaryMount(name), { force: true });
    return { name, root, already: true, ids: found.engine.ids };
  }
  checkFuse();
  if (found.state === 'dead') {
    await cleanDeadEngine(paths, name, found);
    context.onNotice?.(`cleared away what was left of an earlier mount of ${name}: ${found.reason}`);
  }
  try {
    mkdirSync(paths.run(name), { recursive: true, mode: 0o700 });
    rmSync(paths.temporaryMount(name), { force: true });
    if (request.mountpoint === undefined) makeDefaultRoot(paths, name);
    if (request.temporary) writeFileSync(paths.temporaryMount(name), '', { mode: 0o600 });
  } catch (error) {
    throw storeWriteError(error, paths.run(name));
  }
  const root = request.mountpoint ?? defaultRootPath(paths, name);
  if (readMounts().some((mount) => mount.mountpoint === root)) {
    throw new TemplatefsError('BUSY', `something else is mounted at ${root}`, {
      hint: `see what it is with \`findmnt ${root}\`, or name another folder`,
    });
  }
  try {
    await mountEngine({
      paths,
      container: name,
      mountpoint: root,
      ...(request.passthrough !== undefined && { passthrough: request.passthrough }),
      ...(request.ids !== undefined && { ids: request.ids }),
      ...(request.mountOptions !== undefined && { mountOptions: request.mountOptions }),
      ...(signal !== undefined && { signal }),
    });
  } catch (error) {
    // A mount that was cut short may have left a live engine, or a part of one.
    const left = await settledEngineState(paths, name);
    if (left.state === 'dead') await cleanDeadEngine(paths, name, left);
    if (left.state !== 'mounted') {
      removeRunFiles(paths, name);
      removeDefaultRoot(paths, name);
    }
    throw error;
  }
  return { name, root, already: false, ids: request.ids === undefined ? (readContainerFile(paths.containerFile(name))?.ids ?? null) : request.ids };
}

/**
 * Mounts a container's root. One that is mounted at this place already is left as it is.
 *
 * @throws CONTAINER_NOT_FOUND, USAGE, BUSY, FUSE_UNAVAILABLE, ENGINE_FAILED, ENGINE_MISMATCH, BAD_TREE, INTEGRITY
 */
export async function mountContainer(
  context: ServiceContext,
  options: MountContainerOptions,
): Promise<MountedContainer> {
  const { paths } = context;
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findContainer(catalog, options.name);
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'container', options.name));
  findContainer(catalog, options.name);
  const mountpoint =
    options.mountpoint === undefined ? undefined : checkMountpoint(paths, options.name, options.mountpoint);
  const mounted = await mountLocked(context, {
    name: options.name,
    temporary: false,
    ...(mountpoint !== undefined && { mountpoint }),
    ...(options.passthrough !== undefined && { passthrough: options.passthrough }),
    ...(options.ids !== undefined && { ids: options.ids }),
    ...(options.mountOptions !== undefined && { mountOptions: options.mountOptions }),
  });
  catalog.setMountpoint(options.name, mounted.root === defaultRootPath(paths, options.name) ? null : mounted.root);
  return mounted;
}
