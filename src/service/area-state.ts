import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { askEngine } from '../engine/running-engines.js';

/*
 * Whether a private area is still as it was when somebody counted it, without a look at its entries. A running engine says so: its
 * mark is raised by each change of content, and it counts requests. Of one that stopped cleanly the mark on the disk says so, and
 * `inos`, which each engine writes anew when it ends (docs/formats/private-area.md).
 */

/** Requests that can change what an area takes without a change of content. */
const CHANGING = [
  'setattr', 'symlink', 'mknod', 'mkdir', 'unlink', 'rmdir', 'rename', 'rename2', 'link', 'write', 'setxattr', 'removexattr', 'create',
  'fallocate', 'copy_file_range', 'tmpfile',
] as const;

export interface AreaState {
  /** The same as long as nothing has changed; null: nobody can say. */
  readonly token: string | null;
  /** Whether files are open, so that some may grow without anybody being told. */
  readonly hasOpenFiles: boolean;
}

const UNKNOWN: AreaState = { token: null, hasOpenFiles: false };

/** What tells one file, or folder, from the one that has its name next. */
function identityOf(path: string): string {
  const { ino, ctimeNs } = statSync(path, { bigint: true });
  return `${ino}:${ctimeNs}`;
}

function stoppedState(paths: StorePaths, container: string): AreaState {
  const area = paths.privateArea(container);
  try {
    const mark = /^mark (\S+)$/m.exec(readFileSync(join(area, 'changes'), 'utf8'))?.[1];
    return mark === undefined ? UNKNOWN : { token: `stopped ${mark} ${identityOf(join(area, 'inos'))}`, hasOpenFiles: false };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return UNKNOWN;
    throw error;
  }
}

/** @throws INTERRUPTED, IO_ERROR */
export async function containerAreaState(paths: StorePaths, container: string, signal?: AbortSignal): Promise<AreaState> {
  const mark = await askEngine(paths, container, ['mark'], undefined, signal);
  if (mark === undefined) return stoppedState(paths, container);
  const status = await askEngine(paths, container, ['status'], undefined, signal);
  const text = mark.reply?.get('mark');
  if (text === undefined || text === '' || status?.reply === undefined) return UNKNOWN;
  const { reply } = status;
  const counts = CHANGING.map((name) => reply.get(`op.${name}`) ?? '0').join(',');
  return { token: `running ${reply.get('holder') ?? ''} ${text} ${counts}`, hasOpenFiles: reply.get('opens') !== '0' };
}

/** Nobody changes a snapshot; another one of the same name is another folder. */
export function snapshotState(paths: StorePaths, snapshot: string): AreaState {
  try {
    return { token: `snapshot ${identityOf(join(paths.privateArea(snapshot), 'snapshot'))}`, hasOpenFiles: false };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return UNKNOWN;
    throw error;
  }
}

/** A state of an area above one tree, as a file name or a line can hold it. */
export function stateKey(token: string, tree: string): string {
  return createHash('sha256').update(`${token}\n${tree}`).digest('hex');
}
