import { settledEngineState } from '../engine/engine-state.js';
import { lock, type ServiceContext } from '../service/context.js';
import { createContainer } from '../service/create-container.js';
import { defaultRootPath } from '../service/default-root.js';
import { holdContainer } from '../service/hold-container.js';
import { mountLocked } from '../service/mount-container.js';
import { flushRoot } from '../service/snapshot-container.js';
import { umountLocked } from '../service/umount-container.js';
import type { SnapshotSettings } from './labels.js';

export interface RootOptions {
  readonly name: string;
  readonly template: string;
  readonly readOnly: boolean;
  readonly settings: SnapshotSettings;
}

/** Makes the container of a snapshot, not mounted yet. @throws what `createContainer` throws */
export async function makeContainer(context: ServiceContext, { name, template, settings }: RootOptions): Promise<void> {
  await createContainer(context, { name, template, ...settings });
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
