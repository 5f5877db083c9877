import { dropCaches } from '../runner/drop-caches.js';
import type { Scenario } from './scenario.js';

export const containerStart: Scenario = {
  name: 'container-start',
  group: 'work',
  what: 'a root is mounted (overlayfs by mount(8), templatefs by its mount helper) and bubblewrap starts /bin/true in it; from the start of the command that mounts to the end of /bin/true',
  meaning: 'how long a user waits for a container; cold: the first after a boot',
  durability: 'nothing is written',
  variants: [{ name: 'cold', ready: 'own' }, { name: 'warm', ready: 'own' }],
  input: 'debian',
  only: ['overlayfs', 'fuse-overlayfs', 'templatefs'],
  prepare: async (_root, { variant, driver, emptyFolder, input, signal }) => {
    if (variant.name !== 'cold') return;
    await dropCaches(input.places.volume, signal);
    // The programs of the host are in memory again.
    await driver.run(['run', 'bwrap', '--ro-bind', '/', '/', '--tmpfs', emptyFolder, 'sh', '-c', 'mount --version; fuse-overlayfs --version'], signal);
  },
  run: async (root, { driver, signal }) => {
    const sandbox = ['--bind', root.path, '/', '--dev', '/dev', '--proc', '/proc', '--unshare-pid', '--unshare-net', '--die-with-parent', '/bin/true'];
    try {
      const words = root.mountCommand ?? [];
      return await driver.run(['run', 'sh', '-ec', '"$@" > /dev/null 2>&1 < /dev/null; exec bwrap $SANDBOX', 'sh', ...words], signal, { env: { SANDBOX: sandbox.join(' ') } });
    } finally {
      await root.unmount();
    }
  },
};
