import { TemplatefsError } from '../core/errors.js';
import { runEngine } from './run-engine.js';

/**
 * Asks the kernel how much of each file is in the page cache.
 *
 * @param files absolute paths
 * @returns bytes in memory, in the order of `files`; 0 for a file that cannot be asked about
 * @throws ENGINE_FAILED
 */
export async function residentBytes(files: readonly string[], signal?: AbortSignal): Promise<number[]> {
  if (files.length === 0) return [];
  let text = '';
  await runEngine({
    verb: 'resident',
    arguments: [],
    input: Buffer.from(files.map((file) => `${file}\0`).join(''), 'utf8'),
    onOutput: (piece) => {
      text += piece.toString('latin1');
    },
    ...(signal !== undefined && { signal }),
  });
  const lines = text.split('\n').slice(0, -1);
  if (lines.length !== files.length || lines.some((line) => !/^-?\d+$/.test(line))) {
    throw new TemplatefsError('ENGINE_FAILED', `templatefs-engine resident answered ${lines.length} lines for ${files.length} files`);
  }
  return lines.map((line) => Math.max(0, Number(line)));
}
