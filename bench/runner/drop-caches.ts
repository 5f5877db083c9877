import { writeFile } from 'node:fs/promises';
import { runProgram } from './run-program.js';

/** Writes out what is dirty on the file system of `path`. */
export async function syncVolume(path: string, signal: AbortSignal): Promise<void> {
  await runProgram('sync', ['--file-system', path], { signal });
}

/**
 * Writes out what is dirty on the file system of `path`, then makes the kernel forget all clean pages, dentries and
 * inodes that nobody holds. Also those of the measuring programs: they are run once, untimed, before the next measurement.
 */
export async function dropCaches(path: string, signal: AbortSignal): Promise<void> {
  await syncVolume(path, signal);
  await writeFile('/proc/sys/vm/drop_caches', '3');
}
