import { existsSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import { removeLockFile } from '../catalog/lock.js';
import { settledEngineState } from '../engine/engine-state.js';
import { refuseOfContainerd } from './containerd-use.js';
import { lock, type ServiceContext } from './context.js';
import { holdContainer } from './hold-container.js';
import { journaled, moveFolder, trashArea } from './journal.js';
import { umountLocked } from './umount-container.js';

export interface DestroyOptions {
  readonly name: string;
  /** Also when it is mounted. */
  readonly force?: boolean;
  /** Checks everything and changes nothing. */
  readonly dryRun?: boolean;
}

export interface DestroyedContainer {
  readonly name: string;
  readonly destroyed: boolean;
  readonly wasMounted: boolean;
}

/**
 * Removes a container and everything that it wrote. Its template is not touched. A cut leaves the container whole, or
 * gone; what is left to remove then is removed by the next command.
 *
 * @throws CONTAINER_NOT_FOUND, CONTAINER_MOUNTED without `force`, BUSY (also for one that containerd lists), FAILED
 */
export async function destroyContainer(context: ServiceContext, options: DestroyOptions): Promise<DestroyedContainer> {
  const { paths } = context;
  const { name, force = false, dryRun = false } = options;
  using held = await holdContainer(context, name);
  const { catalog, locks } = held;
  refuseOfContainerd(paths, 'container', name);
  const found = await settledEngineState(paths, name);
  // What an `exec` that was killed left mounted is no reason to refuse; a running one is found by the lock below.
  const wasMounted = found.state === 'mounted' && !existsSync(paths.temporaryMount(name));
  if (found.state === 'mounted' && wasMounted && !force) {
    throw new TemplatefsError('CONTAINER_MOUNTED', `container ${name} is mounted at ${found.engine.mountpoint}`, {
      hint: `unmount it first (templatefs umount ${name}), or destroy it all the same with --force`,
    });
  }
  if (!force) locks.hold(await lock(context, { name: `use-${name}`, what: `container ${name}`, mode: 'exclusive' }));
  if (dryRun) return { name, destroyed: false, wasMounted };
  await umountLocked(context, name, force);
  await journaled(paths, catalog, 'destroy-container', name, (entry) => {
    // Gone by hand already: then only the catalog has to follow.
    if (existsSync(paths.privateArea(name))) moveFolder(paths.privateArea(name), trashArea(paths, entry), paths.privateAreas);
  });
  removeLockFile(paths, `use-${name}`);
  removeLockFile(paths, `container-${name}`);
  return { name, destroyed: true, wasMounted };
}
