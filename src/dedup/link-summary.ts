import { readFileSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import { replaceFile } from '../store/write-file-durably.js';

/** What the last run left of each container: enough to see that there is nothing to do, without a look at anything else. */
export interface LinkSummary {
  /** `objects.generation` that it holds for: new objects may be equal to files that were left. */
  readonly generation: number;
  readonly containers: Readonly<Record<string, ContainerSummary>>;
}

export interface ContainerSummary {
  readonly mark: string | null;
  readonly policy: string;
  readonly again: boolean;
  /** Files that were skipped by what the scan says of them, with the reason. */
  readonly skipped: readonly (readonly [path: string, reason: string])[];
}

const VERSION = 2;

export function readLinkSummary(file: string): LinkSummary {
  try {
    const stored = JSON.parse(readFileSync(file, 'utf8')) as LinkSummary & { readonly version: number };
    if (stored.version === VERSION) return stored;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== undefined && errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
  }
  return { generation: -1, containers: {} };
}

export function writeLinkSummary(file: string, summary: LinkSummary): void {
  replaceFile(file, JSON.stringify({ version: VERSION, ...summary }));
}
