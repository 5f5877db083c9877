import { readFile } from 'node:fs/promises';
import { TemplatefsError, errnoOf } from '../../src/core/errors.js';
import { FORMAT, type BenchResult } from './result.js';

/** Reads what an earlier run has written. @throws USAGE for anything else */
export async function readResult(file: string): Promise<BenchResult> {
  let result: { readonly format?: unknown };
  try {
    result = JSON.parse(await readFile(file, 'utf8')) as { readonly format?: unknown };
  } catch (error) {
    const reason = errnoOf(error) === 'ENOENT' ? 'no such file' : error instanceof Error ? error.message : String(error);
    throw new TemplatefsError('USAGE', `${file} is no result of the benchmarks: ${reason}`, { hint: 'name the JSON file that npm run bench has written', cause: error });
  }
  if (result.format !== FORMAT) {
    throw new TemplatefsError('USAGE', `${file} has format ${typeof result.format === 'number' ? result.format : 'unknown'}, not ${FORMAT}`, { hint: 'measure again: npm run bench' });
  }
  return result as unknown as BenchResult;
}
