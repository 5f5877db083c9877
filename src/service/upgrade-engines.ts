import { realpathSync } from 'node:fs';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import { enginePath } from '../core/engine-path.js';
import { askVersion, type EngineVersion } from '../engine/engine-binary.js';
import { settledEngineState } from '../engine/engine-state.js';
import { upgradeEngine } from '../engine/upgrade-engine.js';
import { openForWriting, type OpenCatalog, type ServiceContext } from './context.js';
import { findContainer, lockSubject } from './find-record.js';

export interface UpgradeEnginesOptions {
  /** undefined: all that are mounted. */
  readonly name?: string;
  /** The new executable; what `mount` would start if left out. */
  readonly engine?: string;
}

export interface UpgradedContainer {
  readonly name: string;
  readonly from: string | null;
  /** null: it is stopped, and its next mount starts the new engine anyway. */
  readonly to: string | null;
}

export interface UpgradedEngines {
  readonly engineVersion: string;
  readonly containers: readonly UpgradedContainer[];
  readonly failed: readonly { readonly name: string; readonly code: string; readonly message: string }[];
}

interface NewEngine {
  readonly binary: string;
  readonly version: EngineVersion;
}

async function upgradeOne(context: ServiceContext, { catalog }: OpenCatalog, name: string, { binary, version }: NewEngine): Promise<UpgradedContainer> {
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'container', name));
  findContainer(catalog, name);
  const found = await settledEngineState(context.paths, name);
  if (found.state !== 'mounted') return { name, from: null, to: null };
  await upgradeEngine({ paths: context.paths, container: name, running: found.engine, binary, version });
  return { name, from: found.engine.version, to: version.version };
}

/**
 * Puts another engine under mounted roots, with a pause for those that use them. With all containers, one that fails does not
 * keep the others from it.
 *
 * @throws CONTAINER_NOT_FOUND, ENGINE_FAILED, ENGINE_MISMATCH, ENGINE_STATE_MISMATCH, BUSY
 */
export async function upgradeEngines(context: ServiceContext, options: UpgradeEnginesOptions): Promise<UpgradedEngines> {
  const named = options.engine ?? enginePath();
  const version = await askVersion(named);
  const engine = { binary: realpathSync(named), version };
  using opened = await openForWriting(context);
  if (options.name !== undefined) {
    findContainer(opened.catalog, options.name);
    return { engineVersion: version.version, containers: [await upgradeOne(context, opened, options.name, engine)], failed: [] };
  }
  const containers: UpgradedContainer[] = [];
  const failed: { name: string; code: string; message: string }[] = [];
  for (const { name } of opened.catalog.containers()) {
    context.signal?.throwIfAborted();
    try {
      const done = await upgradeOne(context, opened, name, engine);
      if (done.to !== null) containers.push(done);
    } catch (error) {
      // Destroyed since the list was made: nothing to upgrade.
      if (error instanceof TemplatefsError && error.code === 'CONTAINER_NOT_FOUND') continue;
      if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED') throw error;
      failed.push({ name, code: error.code, message: error.message });
    }
  }
  return { engineVersion: version.version, containers, failed };
}
