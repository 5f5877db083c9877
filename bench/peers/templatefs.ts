import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../../src/core/errors.js';
import { controlRequest } from '../../src/engine/control-client.js';
import { engineState } from '../../src/engine/engine-state.js';
import { checkFuse, mountEngine } from '../../src/engine/mount-engine.js';
import { createContainer } from '../../src/service/create-container.js';
import { TEMPLATE } from '../runner/input.js';
import { unmount, waitForEnd } from '../runner/mounts.js';
import type { Peer } from './peer.js';

export const templatefs: Peer = {
  name: 'templatefs',
  what: 'a container of templatefs on the root imported as a template; a store and a private area on the same volume',
  async unusable() {
    try {
      checkFuse();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  },
  async makeRoot(input, slot) {
    const [paths, folder] = await Promise.all([input.store(), input.slotFolder(slot)]);
    await createContainer({ paths, signal: input.signal }, { name: slot, template: TEMPLATE });
    const path = join(folder, 'root');
    await mkdir(path);
    const status = (): ReturnType<typeof controlRequest> => controlRequest(paths.controlSocket(slot), ['status']);
    return {
      path,
      mount: async () => { await mountEngine({ paths, container: slot, mountpoint: path, signal: input.signal }); },
      // umount(8) as for the other peers, not `templatefs umount`; the engine sees the end of its mount and ends too.
      unmount: async () => {
        const found = await engineState(paths, slot);
        await unmount(path);
        if (found.state === 'mounted') {
          const { holder, worker } = found.engine;
          await waitForEnd('the engine', [holder, worker].filter((pid) => pid > 0));
        }
      },
      mode: async () => {
        const passthrough = (await status()).get('passthrough');
        if (passthrough === undefined) throw new TemplatefsError('ENGINE_FAILED', 'the engine does not say whether it has passthrough');
        return {
          caching: `passthrough ${passthrough}: pages of the object; attributes and entries kept without end`,
          durability: 'copy-up copies the whole file and fsyncs it before the rename; metadata changes copy nothing',
        };
      },
      requests: async () =>
        new Map([...(await status())].filter(([key]) => key.startsWith('op.')).map(([key, count]) => [key.slice(3), Number(count)])),
    };
  },
};
