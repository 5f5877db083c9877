import { existsSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import { idMapArguments, type IdMaps } from '../core/id-map.js';
import type { StorePaths } from '../core/store-paths.js';
import { runEngine } from './run-engine.js';

export interface MountOptions {
  readonly paths: StorePaths;
  readonly container: string;
  /** An existing folder. */
  readonly mountpoint: string;
  /** false serves reads and writes through the engine, for comparison. */
  readonly passthrough?: boolean;
  /** In place of those of the container's settings; null: ids are as they are. */
  readonly ids?: IdMaps | null;
  /** As after `mount -o`. */
  readonly mountOptions?: string;
  readonly signal?: AbortSignal;
}

/** @throws FUSE_UNAVAILABLE when there is no /dev/fuse */
export function checkFuse(): void {
  if (existsSync('/dev/fuse')) return;
  throw new TemplatefsError('FUSE_UNAVAILABLE', 'there is no /dev/fuse', {
    hint: 'load the module (modprobe fuse); in a container, give it the device /dev/fuse and CAP_SYS_ADMIN',
  });
}

/**
 * Starts an engine for a container and returns when its root is live. The engine stays in the background.
 *
 * @throws FUSE_UNAVAILABLE, ENGINE_FAILED, ENGINE_MISMATCH, BUSY, INTEGRITY, CONTAINER_NOT_FOUND, INTERRUPTED
 */
export async function mountEngine(options: MountOptions): Promise<void> {
  checkFuse();
  await runEngine({
    verb: 'mount',
    arguments: [
      '--store',
      options.paths.store,
      '--container',
      options.container,
      '--mountpoint',
      options.mountpoint,
      ...(options.ids === null ? ['--no-idmap'] : options.ids === undefined ? [] : idMapArguments(options.ids)),
      ...(options.mountOptions === undefined ? [] : ['--options', options.mountOptions]),
      ...(options.passthrough === false ? ['--no-passthrough'] : []),
    ],
    ...(options.signal !== undefined && { signal: options.signal }),
  });
}
