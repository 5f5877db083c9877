import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { BenchResult } from './result.js';

/** Writes the results whole or not at all; an older file of that name stays until then. */
export async function writeJson(file: string, result: BenchResult): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const half = `${file}.half`;
  await writeFile(half, `${JSON.stringify(result, null, 2)}\n`);
  await rename(half, file);
}
