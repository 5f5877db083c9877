import { runProgram } from '../runner/run-program.js';
import { Daemon } from './daemon.js';
import type { Peer } from './peer.js';
import { makeUnionFolders } from './union-folders.js';

async function version(): Promise<string> {
  const text = await runProgram('fuse-overlayfs', ['--version']);
  return /fuse-overlayfs: version (\S+)/.exec(text)?.[1] ?? 'unknown version';
}

export const fuseOverlayfs: Peer = {
  name: 'fuse-overlayfs',
  what: 'fuse-overlayfs over the unpacked root; what rootless containers used before kernels allowed them overlayfs',
  abilities: ['copy-on-write', 'xattrs', 'owners', 'daemon', 'mount'],
  async unusable() {
    try {
      await version();
      return undefined;
    } catch {
      return 'fuse-overlayfs is not installed';
    }
  },
  async makeRoot(input, slot) {
    const folders = await makeUnionFolders(input, slot);
    const { lower, upper, work, path } = folders;
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    const daemon = new Daemon(['fuse-overlayfs', '-f', '-o', options, path], path);
    return {
      path,
      mountCommand: ['fuse-overlayfs', '-o', options, path],
      mount: () => daemon.mount(),
      unmount: () => daemon.unmount(),
      reset: () => folders.reset(),
      discard: () => folders.discard(),
      processes: () => daemon.pids,
      mode: async () => ({
        caching: `version ${await version()}, its defaults: pages of its own beside those of the lower file`,
        durability: 'copy-up copies the whole file and does not fsync',
      }),
    };
  },
};
