import { readFile } from 'node:fs/promises';
import { unmount } from '../runner/mounts.js';
import { runProgram } from '../runner/run-program.js';
import type { Peer } from './peer.js';
import { makeUnionFolders } from './union-folders.js';

/** The options of a mounted overlay that say how it works, without its folders. */
async function effectiveOptions(mountpoint: string): Promise<string> {
  const lines = (await readFile('/proc/self/mounts', 'utf8')).split('\n');
  const options = lines.find((line) => line.split(' ')[1] === mountpoint)?.split(' ')[3] ?? '';
  return options.split(',').filter((option) => !/^(lowerdir|upperdir|workdir)/.test(option)).join(',');
}

async function unusable(): Promise<string | undefined> {
  const known = (await readFile('/proc/filesystems', 'utf8')).split('\n').some((line) => line.endsWith('\toverlay'));
  if (known) return undefined;
  try {
    await runProgram('modprobe', ['overlay']);
    return undefined;
  } catch {
    return 'this kernel has no overlayfs';
  }
}

/** @param more options beside the folders, each after a comma */
function makeOverlayfs(peer: Pick<Peer, 'name' | 'what' | 'onlyWhereNamed'>, more: string, durability: string): Peer {
  return {
    ...peer,
    abilities: ['copy-on-write', 'xattrs', 'owners', 'mount'],
    unusable,
    async makeRoot(input, slot) {
      const folders = await makeUnionFolders(input, slot);
      const { lower, upper, work, path } = folders;
      const mountCommand = ['mount', '-t', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}${more}`, 'overlay', path] as const;
      return {
        path,
        changes: upper,
        mountCommand,
        mount: async () => {
          const [program, ...args] = mountCommand;
          await runProgram(program, args, { signal: input.signal });
        },
        unmount: () => unmount(path),
        reset: () => folders.reset(),
        discard: () => folders.discard(),
        mode: async () => ({ caching: `pages of the lower file; ${await effectiveOptions(path)}`, durability }),
      };
    },
  };
}

export const overlayfs = makeOverlayfs(
  { name: 'overlayfs', what: 'kernel overlayfs over the unpacked root, with an upper folder on the same volume; what containers use today' },
  '',
  'copy-up copies the whole file and fsyncs it (no metacopy, not volatile)',
);

export const overlayfsMetacopy = makeOverlayfs(
  { name: 'overlayfs-metacopy', what: 'the same with metacopy=on: changed attributes do not copy the content', onlyWhereNamed: true },
  ',metacopy=on',
  'a change of attributes copies none of the content; the first write copies the whole file and fsyncs it',
);

export const overlayfsVolatile = makeOverlayfs(
  { name: 'overlayfs-volatile', what: 'the same with volatile: nothing is ever made durable', onlyWhereNamed: true },
  ',volatile',
  'none: fsync and sync do nothing, and after a power loss the root is to be thrown away',
);
