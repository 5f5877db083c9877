import { parseKeyValues } from '../core/key-value-text.js';
import type { StorePaths } from '../core/store-paths.js';
import { runEngine } from './run-engine.js';

/** What a copy of a private area holds. */
export interface CopiedArea {
  /** Names, whiteouts too. */
  readonly entries: number;
  /** Inodes whose content is an object. */
  readonly links: number;
  /** Inodes with content of their own, and how many bytes that is. */
  readonly files: number;
  readonly bytes: number;
  /** Whether that content takes no space yet: reflinks. */
  readonly cloned: boolean;
  /** For how long a running engine waited. */
  readonly waitedMs: number;
}

/**
 * Copies the private area of a container, or of a snapshot `CT@ID`, to a folder that is made for it; durably. A running engine
 * waits while entries are copied, so names and metadata are those of one moment.
 *
 * @throws CONTAINER_NOT_FOUND, BUSY, INTEGRITY, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function copyArea(paths: StorePaths, area: string, to: string, signal?: AbortSignal): Promise<CopiedArea> {
  let text = '';
  await runEngine({
    verb: 'area',
    arguments: ['copy', '--store', paths.store, '--container', area, '--to', to],
    onOutput: (piece) => (text += piece.toString()),
    ...(signal !== undefined && { signal }),
  });
  const values = new Map(parseKeyValues(text, { file: 'the output of templatefs-engine', errorCode: 'ENGINE_FAILED' }).map(({ key, value }) => [key, value]));
  const number = (key: string): number => Number(values.get(key) ?? 0);
  return {
    entries: number('entries'),
    links: number('links'),
    files: number('contents'),
    bytes: number('bytes'),
    cloned: values.get('cloned') === 'yes',
    waitedMs: number('waited-us') / 1000,
  };
}

/** Each of two folders is where the other was, in one step. @throws STORE_NOT_WRITABLE, IO_ERROR, FAILED */
export async function exchangeFolders(one: string, other: string): Promise<void> {
  await runEngine({ verb: 'area', arguments: ['exchange', one, other] });
}
