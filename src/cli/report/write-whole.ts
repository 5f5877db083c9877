import { rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeFolders } from '../../store/make-folders.js';

/** Writes a file whole or not at all; an older one of that name stays until then. */
export async function writeWhole(file: string, text: string): Promise<void> {
  makeFolders(dirname(file));
  const half = `${file}.half`;
  await writeFile(half, text);
  await rename(half, file);
}
