import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeTree } from '../runner/remove-tree.js';
import { Daemon } from './daemon.js';
import type { Peer } from './peer.js';

const PROGRAM = fileURLToPath(new URL('pass-through-daemon.js', import.meta.url));

export const passThrough: Peer = {
  name: 'fuse-native',
  what: 'a plain pass-through of a copy of the root in JavaScript, by the npm package fuse-native; the design that one would write first',
  abilities: ['daemon', 'mount'],
  async unusable() {
    try {
      await import('fuse-native');
      return undefined;
    } catch (error) {
      return `the npm package fuse-native cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
    }
  },
  async makeRoot(input, slot) {
    const folder = await input.slotFolder(slot);
    const [copy, path] = [join(folder, 'copy'), join(folder, 'root')] as const;
    for (const made of [copy, path]) await mkdir(made);
    await input.copyTo(copy);
    const daemon = new Daemon([process.execPath, PROGRAM, copy, path], path, { staysAfterUnmount: true });
    return {
      path,
      mount: () => daemon.mount(),
      unmount: () => daemon.unmount(),
      reset: () => input.restore(copy),
      discard: () => removeTree(folder),
      processes: () => daemon.pids,
      mode: async () => ({
        caching: 'the defaults of libfuse 2: attributes and names for a second, pages until the next open',
        durability: 'nothing to copy up; as the file system below it',
      }),
    };
  },
};
