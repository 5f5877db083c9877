import type { Peer } from './peer.js';

export const host: Peer = {
  name: 'host',
  what: 'the host file system itself: the root unpacked into a folder of the volume, shared with nobody',
  unusable: async () => undefined,
  makeRoot: async (input) => ({
    path: await input.unpacked(),
    mount: async () => undefined,
    unmount: async () => undefined,
    mode: async () => ({
      caching: 'page cache and dentry cache of ext4',
      durability: 'nothing to copy up; data at fsync or after some seconds (data=ordered)',
    }),
  }),
};
