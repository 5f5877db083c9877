import { readFileSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';

/** @returns undefined if there is no such file @throws system errors */
export function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}
