import { runProgram } from '../runner/run-program.js';
import { Daemon } from './daemon.js';
import type { Peer } from './peer.js';
import { makeUnionFolders } from './union-folders.js';

/** mergerfs, its better known relative, merges folders too, but has no copy-on-write: it cannot do this job. */
export const unionfsFuse: Peer = {
  name: 'unionfs-fuse',
  what: 'unionfs-fuse with copy-on-write over the unpacked root; what live systems used',
  abilities: ['copy-on-write', 'owners', 'daemon', 'mount'],
  async unusable() {
    try {
      await runProgram('unionfs', ['--version']);
      return undefined;
    } catch {
      return 'unionfs-fuse is not installed';
    }
  },
  async makeRoot(input, slot) {
    const folders = await makeUnionFolders(input, slot);
    const { lower, upper, path } = folders;
    const daemon = new Daemon(['unionfs', '-f', '-o', 'cow,allow_other,default_permissions,dev,suid', `${upper}=RW:${lower}=RO`, path], path);
    return {
      path,
      mount: () => daemon.mount(),
      unmount: () => daemon.unmount(),
      reset: () => folders.reset(),
      discard: () => folders.discard(),
      processes: () => daemon.pids,
      mode: async () => ({
        caching: 'the defaults of libfuse: attributes and names for a second, pages until the next open',
        durability: 'copy-up copies the whole file and does not fsync',
      }),
    };
  },
};
