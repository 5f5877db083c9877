import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unmount } from '../runner/mounts.js';
import { runProgram } from '../runner/run-program.js';
import type { Peer } from './peer.js';

/** The options of a mounted overlay that say how it works, without its folders. */
async function effectiveOptions(mountpoint: string): Promise<string> {
  const lines = (await readFile('/proc/self/mounts', 'utf8')).split('\n');
  const options = lines.find((line) => line.split(' ')[1] === mountpoint)?.split(' ')[3] ?? '';
  return options.split(',').filter((option) => !/^(lowerdir|upperdir|workdir)/.test(option)).join(',');
}

export const overlayfs: Peer = {
  name: 'overlayfs',
  what: 'kernel overlayfs over the unpacked root, with an upper folder on the same volume; what containers use today',
  async unusable() {
    const known = (await readFile('/proc/filesystems', 'utf8')).split('\n').some((line) => line.endsWith('\toverlay'));
    if (known) return undefined;
    try {
      await runProgram('modprobe', ['overlay']);
      return undefined;
    } catch {
      return 'this kernel has no overlayfs';
    }
  },
  async makeRoot(input, slot) {
    const [lower, folder] = await Promise.all([input.unpacked(), input.slotFolder(slot)]);
    const [upper, work, path] = ['upper', 'work', 'root'].map((name) => join(folder, name)) as [string, string, string];
    for (const made of [upper, work, path]) await mkdir(made);
    return {
      path,
      mount: async () => {
        await runProgram('mount', ['-t', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, 'overlay', path], { signal: input.signal });
      },
      unmount: () => unmount(path),
      mode: async () => ({
        caching: `pages of the lower file; ${await effectiveOptions(path)}`,
        durability: 'copy-up copies the whole file and fsyncs it (no metacopy, not volatile)',
      }),
    };
  },
};
