import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { StorePaths } from '../core/store-paths.js';
import type { RawName } from '../store/raw-names.js';
import { controlRequest } from './control-client.js';

/** What was asked of a root while it was traced. */
export interface ReadTrace {
  /** Paths that were looked up, whether they were there or not. */
  readonly asked: ReadonlySet<RawName>;
  /** Folders of which the names were listed. */
  readonly listed: ReadonlySet<RawName>;
}

/**
 * Lets the engine note what is asked of its root from now on. Of a root that was mounted just now, that is all that programs can have
 * read; of others the kernel answers much itself.
 *
 * @throws ENGINE_FAILED
 */
export async function beginTrace(paths: StorePaths, container: string): Promise<void> {
  await controlRequest(paths.controlSocket(container), ['trace', 'begin']);
}

/** @returns null when not all is known: a worker has died, or it was too much @throws ENGINE_FAILED */
export async function endTrace(paths: StorePaths, container: string): Promise<ReadTrace | null> {
  const answer = await controlRequest(paths.controlSocket(container), ['trace', 'end']);
  if (answer.get('whole') !== 'yes') return null;
  const file = join(paths.privateArea(container), 'trace');
  const records = readFileSync(file, 'latin1').split('\0');
  rmSync(file);
  const of = (kind: string): Set<RawName> => new Set(records.filter((record) => record.startsWith(kind)).map((record) => record.slice(1)));
  return { asked: of('a'), listed: of('l') };
}
