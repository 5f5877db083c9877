import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { CleanUp } from './clean-up.js';
import { unmount } from './mounts.js';
import { runProgram } from './run-program.js';

/** The file system that everything is measured on. */
export interface Volume {
  readonly path: string;
  readonly description: string;
  /** Whether the loop device goes past the page cache of the host; if not, cold runs are not cold. */
  readonly directIo: boolean;
}

/*
 * A host's own file system varies several-fold from run to run with its age and with what else it is used for. So: a
 * new ext4 in an image file, on a loop device that does direct I/O (else its blocks would be cached a second time, by
 * the host, and "cold" would mean nothing). Blocks are allocated beforehand and all inode tables are written by mkfs:
 * the kernel thread that ext4 otherwise starts to write them would run during the first measurements. noatime, because
 * reading must not write. An inode for every 4 KiB: some roots get a million files.
 */
const MAKE = {
  ext4: ['mkfs.ext4', '-q', '-F', '-i', '4096', '-E', 'lazy_itable_init=0,lazy_journal_init=0,nodiscard'],
  xfs: ['mkfs.xfs', '-q', '-K', '-m', 'reflink=1'],
} as const;
const MOUNT_OPTIONS = 'noatime,nodiscard';

/** Makes, mounts and later removes the volume. `folder` is on a file system of the host that can do direct I/O. */
export async function makeLoopVolume(folder: string, sizeBytes: number, cleanUp: CleanUp, signal: AbortSignal, fileSystem: 'ext4' | 'xfs' = 'ext4'): Promise<Volume> {
  const image = join(folder, 'volume.img');
  const path = join(folder, 'volume');
  await mkdir(path);
  await runProgram('fallocate', ['--length', String(sizeBytes), image], { signal });
  const [make, ...options] = MAKE[fileSystem];
  await runProgram(make, [...options, image], { signal });
  const device = (await runProgram('losetup', ['--find', '--show', '--direct-io=on', image])).trim();
  let attached = true;
  cleanUp.add(`detach ${device}`, async () => {
    if (attached) await runProgram('losetup', ['--detach', device]);
  });
  await runProgram('mount', ['-t', fileSystem, '-o', MOUNT_OPTIONS, device, path]);
  cleanUp.add(`unmount ${path}`, () => unmount(path));
  const directIo = readFileSync(`/sys/block/${basename(device)}/loop/dio`, 'utf8').trim() === '1';
  // From now on the kernel detaches the device at the unmount, even if nobody is left to do it.
  await runProgram('losetup', ['--detach', device]);
  attached = false;
  return { path, directIo, description: `${fileSystem} (${MOUNT_OPTIONS}) on a loop device, direct I/O ${directIo ? 'on' : 'OFF'}` };
}
