import type { IdMaps } from '../core/id-map.js';
import { cleanDeadEngine } from '../engine/clean-dead-engine.js';
import { settledEngineState } from '../engine/engine-state.js';
import { mountEngine } from '../engine/mount-engine.js';
import type { ServiceContext } from './context.js';
import { defaultRootPath, removeDefaultRoot } from './default-root.js';
import { holdContainer } from './hold-container.js';

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

/** What a caller that holds the container's lock asks for. */
export interface MountRequest extends MountContainerOptions {
  /** Mounted only for the time of an `exec`. */
  readonly temporary: boolean;
}

/**
 * Mounts a container whose lock the caller holds. The engine does all of it, as it does for mount(8): docs/mount-helper.md.
 *
 * @throws FUSE_UNAVAILABLE, BUSY when it is mounted elsewhere, and what the engine says
 */
export async function mountLocked(context: ServiceContext, request: MountRequest): Promise<MountedContainer> {
  const { paths, signal, launcher } = context;
  const { name, ...options } = request;
  try {
    const { mountpoint: root, already, cleared, ids } = await mountEngine({ paths, container: name, ...options, ...(signal !== undefined && { signal }), ...(launcher !== undefined && { launcher }) });
    if (cleared !== null) context.onNotice?.(`cleared away what was left of an earlier mount of ${name}: ${cleared}`);
    return { name, root, already, ids };
  } catch (error) {
    // The engine leaves nothing behind, unless it was cut short: then there may be a live one, or a part of one.
    if (signal?.aborted === true) {
      const left = await settledEngineState(paths, name);
      if (left.state === 'dead') {
        await cleanDeadEngine(paths, name, left);
        removeDefaultRoot(paths, name);
      }
    }
    throw error;
  }
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
  using held = await holdContainer(context, options.name);
  const { catalog } = held;
  const mounted = await mountLocked(context, { ...options, temporary: false });
  catalog.setMountpoint(options.name, mounted.root === defaultRootPath(paths, options.name) ? null : mounted.root);
  return mounted;
}
