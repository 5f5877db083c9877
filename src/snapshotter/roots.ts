import { readStoreConfig } from '../catalog/store-config.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { settledEngineState } from '../engine/engine-state.js';
import { lock, type ServiceContext } from '../service/context.js';
import { createContainer } from '../service/create-container.js';
import { defaultRootPath } from '../service/default-root.js';
import { holdContainer } from '../service/hold-container.js';
import { mountLocked } from '../service/mount-container.js';
import { flushRoot } from '../service/snapshot-container.js';
import { umountLocked } from '../service/umount-container.js';
import type { SnapshotSettings } from './labels.js';

/**
 * Images were made for overlayfs, where whoever has a file of a layer open keeps its bytes when it is changed, wherever it lies. With the same
 * here all containers share the page cache of all of an image, and not only of its /usr.
 */
const ALL_SHARED: SharedPaths = ['/'];

export interface RootOptions {
  readonly name: string;
  readonly template: string;
  readonly readOnly: boolean;
  readonly settings: SnapshotSettings;
}

/**
 * Makes the container of a snapshot and mounts it.
 *
 * @returns the folder that containerd is to bind @throws what `createContainer` and `mountRoot` throw; the container may be left then
 */
export async function makeRoot(context: ServiceContext, { name, template, readOnly, settings }: RootOptions): Promise<string> {
  const shared = settings.shared ?? (readStoreConfig(context.paths.config).shared === null ? ALL_SHARED : undefined);
  let root = '';
  await createContainer(context, {
    name,
    template,
    ...settings,
    ...(shared !== undefined && { shared }),
    onPlaced: async () => { root = await mountHeld(context, name, readOnly); },
  });
  return root;
}

/**
 * Mounts the root of a snapshot where it is not: after a restart of the host, or when its engine was killed.
 *
 * @returns the folder that containerd is to bind @throws FUSE_UNAVAILABLE, ENGINE_FAILED, BUSY
 */
export async function mountRoot(context: ServiceContext, name: string, readOnly: boolean): Promise<string> {
  const { paths } = context;
  if ((await settledEngineState(paths, name)).state === 'mounted') return defaultRootPath(paths, name);
  using _held = await holdContainer(context, name);
  return await mountHeld(context, name, readOnly);
}

/** Its lock is held. */
async function mountHeld(context: ServiceContext, name: string, readOnly: boolean): Promise<string> {
  const { root } = await mountLocked(context, { name, temporary: false, ...(readOnly && { mountOptions: 'ro' }) });
  return root;
}

/**
 * Unmounts the root of a snapshot. Whoever has bound it elsewhere sees errors from then on: waiting for them would be waiting for containerd,
 * which waits for us.
 */
export async function unmountRoot(context: ServiceContext, name: string): Promise<void> {
  await flushRoot(context, name);
  using held = await holdContainer(context, name);
  held.locks.hold(await lock(context, { name: `use-${name}`, what: `container ${name}`, mode: 'exclusive' }));
  await umountLocked(context, name, true);
}
