import { existsSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import { idMapArguments, parseIdRange, type IdMaps, type IdRange } from '../core/id-map.js';
import { parseKeyValues } from '../core/key-value-text.js';
import type { StorePaths } from '../core/store-paths.js';
import type { EngineLauncher } from './engine-launcher.js';
import { runEngine } from './run-engine.js';

export interface MountOptions {
  readonly paths: StorePaths;
  /** Its lock is held by the caller. */
  readonly container: string;
  /** An existing folder; undefined asks for the default place, or for wherever it is mounted already. */
  readonly mountpoint?: string;
  /** false serves reads and writes through the engine, for comparison. */
  readonly passthrough?: boolean;
  /** In place of those of the container's settings; null: ids are as they are. */
  readonly ids?: IdMaps | null;
  /** As after `mount -o`. */
  readonly mountOptions?: string;
  /** Mounted only for the time of an `exec`. */
  readonly temporary?: boolean;
  readonly signal?: AbortSignal;
  readonly launcher?: EngineLauncher;
}

/** For those who want to know beforehand; a mount looks for itself. @throws FUSE_UNAVAILABLE when there is no /dev/fuse */
export function checkFuse(): void {
  if (existsSync('/dev/fuse')) return;
  throw new TemplatefsError('FUSE_UNAVAILABLE', 'there is no /dev/fuse', {
    hint: 'load the module (modprobe fuse); in a container, give it the device /dev/fuse and CAP_SYS_ADMIN',
  });
}

/** What `templatefs-engine mount --report` says. */
export interface MountReport {
  readonly mountpoint: string;
  /** Whether it was mounted there already. */
  readonly already: boolean;
  /** What was left of an earlier mount and had to be cleared away; null: nothing. */
  readonly cleared: string | null;
  /** How ids are mapped there; null: not at all. */
  readonly ids: IdMaps | null;
}

/** Reads the report. @throws ENGINE_FAILED for a text of another form */
export function parseMountReport(text: string): MountReport {
  const lines = parseKeyValues(text, { file: 'what templatefs-engine mount says', errorCode: 'ENGINE_FAILED' });
  const values = new Map(lines.map(({ key, value }) => [key, value]));
  const ranges = (wanted: string): IdRange[] => lines.flatMap(({ key, value }) => (key === wanted ? (parseIdRange(value) ?? []) : []));
  const [uids, gids] = [ranges('uid-map'), ranges('gid-map')];
  const mountpoint = values.get('mountpoint');
  if (mountpoint === undefined) {
    throw new TemplatefsError('ENGINE_FAILED', 'the engine does not say where it has mounted the root', {
      hint: 'build the engine and the control plane together: npm run build',
    });
  }
  return {
    mountpoint,
    already: values.get('already') === 'yes',
    cleared: values.get('cleared') ?? null,
    ids: uids.length === 0 || gids.length === 0 ? null : { uids, gids },
  };
}

/**
 * Mounts a container's root: the engine finds out what is there, clears away what a crash left, and returns when the root is live. It
 * stays in the background. What it checks, and what it takes from where: docs/mount-helper.md.
 *
 * @throws USAGE, FUSE_UNAVAILABLE, ENGINE_FAILED, ENGINE_MISMATCH, BUSY, INTEGRITY, CONTAINER_NOT_FOUND, INTERRUPTED
 */
export async function mountEngine(options: MountOptions): Promise<MountReport> {
  let report = '';
  await runEngine({
    verb: 'mount',
    arguments: [
      '--store',
      options.paths.store,
      '--container',
      options.container,
      ...(options.mountpoint === undefined ? [] : ['--mountpoint', options.mountpoint]),
      ...(options.ids === null ? ['--no-idmap'] : options.ids === undefined ? [] : idMapArguments(options.ids)),
      ...(options.mountOptions === undefined ? [] : ['--options', options.mountOptions]),
      ...(options.passthrough === false ? ['--no-passthrough'] : []),
      ...(options.temporary === true ? ['--temporary'] : []),
      '--locked',
      '--report',
    ],
    onOutput: (piece) => { report += piece.toString('utf8'); },
    ...(options.signal !== undefined && { signal: options.signal }),
    ...(options.launcher !== undefined && { launcher: options.launcher }),
  });
  return parseMountReport(report);
}
