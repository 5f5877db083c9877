import { readdir } from 'node:fs/promises';
import { errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { parseObjectId, type ObjectId } from './object-id.js';

/** Something in the folder of objects. */
export interface ListedObject {
  readonly path: string;
  /** Undefined when the name is not that of an object: a stray file. */
  readonly id: ObjectId | undefined;
}

/** All files below objects/, sorted; one folder of the 256 at a time is in memory. Empty when there is no store yet. */
export async function* listObjects(paths: StorePaths): AsyncGenerator<ListedObject> {
  for (const prefix of await namesIn(paths.objects)) {
    const folder = `${paths.objects}/${prefix}`;
    if (!/^[0-9a-f]{2}$/.test(prefix)) {
      yield { path: folder, id: undefined };
      continue;
    }
    for (const name of await namesIn(folder)) yield { path: `${folder}/${name}`, id: parseObjectId(`${prefix}${name}`) };
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return [];
    // A file that stands where a folder should: the caller sees it as something that cannot be read.
    if (errno === 'ENOTDIR') return [''];
    throw error;
  }
}
