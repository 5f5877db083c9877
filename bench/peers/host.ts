import { removeTree } from '../runner/remove-tree.js';
import type { Peer } from './peer.js';

export const host: Peer = {
  name: 'host',
  what: 'the host file system itself: a copy of the root in a folder of the volume, shared with nobody',
  abilities: ['xattrs', 'owners'],
  unusable: async () => undefined,
  makeRoot: async (input, slot) => {
    const path = await input.slotFolder(slot);
    await input.copyTo(path);
    return {
      path,
      mount: async () => undefined,
      unmount: async () => undefined,
      reset: () => input.restore(path),
      discard: () => removeTree(path),
      mode: async () => ({
        caching: 'page cache and dentry cache of ext4',
        durability: 'nothing to copy up; data at fsync or after some seconds (data=ordered)',
      }),
    };
  },
};
