import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { askEngine } from '../engine/running-engines.js';

/**
 * What says that no content of a container has changed, as long as it is the same: docs/formats/private-area.md, `changes`.
 * @returns null where nobody can say
 */
export async function changeMark(paths: StorePaths, container: string): Promise<string | null> {
  const answer = await askEngine(paths, container, ['mark']);
  if (answer !== undefined) return answer.reply?.get('mark') || null;
  try {
    const text = readFileSync(join(paths.privateArea(container), 'changes'), 'utf8');
    return /^templatefs-changes 1\nmark ([0-9a-f]{16}-[0-9]{1,20})\n$/.exec(text)?.[1] ?? null;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
