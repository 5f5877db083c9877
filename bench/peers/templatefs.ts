import { readFileSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../../src/core/errors.js';
import { controlRequest } from '../../src/engine/control-client.js';
import { parseEngineFile } from '../../src/engine/engine-state.js';
import { findEngine } from '../../src/engine/engine-binary.js';
import { checkFuse, mountEngine } from '../../src/engine/mount-engine.js';
import { createContainer } from '../../src/service/create-container.js';
import { destroyContainer } from '../../src/service/destroy-container.js';
import { isMounted, unmount, waitForEnd } from '../runner/mounts.js';
import { removeTree } from '../runner/remove-tree.js';
import type { Peer } from './peer.js';

export const templatefs: Peer = {
  name: 'templatefs',
  what: 'a container of templatefs on the root imported as a template; a store and a private area on the same volume',
  abilities: ['copy-on-write', 'xattrs', 'owners', 'daemon', 'mount'],
  async unusable() {
    try {
      checkFuse();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  },
  async makeRoot(input, slot) {
    const [template, folder, engine] = await Promise.all([input.template(), input.slotFolder(slot), findEngine()]);
    const { places: { store: paths }, signal } = input;
    const container = `${input.name}-${slot}`;
    const create = async (): Promise<void> => {
      await createContainer({ paths, signal }, { name: container, template });
    };
    // Not interruptible: it cleans up.
    const destroy = async (): Promise<void> => {
      await destroyContainer({ paths }, { name: container, force: true });
    };
    await create();
    const path = join(folder, 'root');
    await mkdir(path);
    // As mount(8) runs it; the bench puts no link into /sbin of its host.
    const helper = join(folder, 'mount.templatefs');
    await symlink(engine, helper);
    const status = (): ReturnType<typeof controlRequest> => controlRequest(paths.controlSocket(container), ['status']);
    const processes = (): readonly number[] => {
      const file = paths.engineState(container);
      const { holder, worker } = parseEngineFile(readFileSync(file, 'utf8'), file);
      return [holder, worker].filter((pid) => pid > 0);
    };
    return {
      path,
      changes: join(paths.privateArea(container), 'root'),
      mountCommand: [helper, container, path, '-o', `store=${paths.store}`],
      mount: async () => { await mountEngine({ paths, container, mountpoint: path, signal }); },
      // umount(8) as for the other peers, not `templatefs umount`; the engine sees the end of its mount and ends too.
      unmount: async () => {
        if (!isMounted(path)) return;
        const pids = processes();
        await unmount(path);
        await waitForEnd('the engine', pids);
      },
      reset: async () => {
        await destroy();
        await create();
      },
      discard: async () => {
        await destroy();
        await removeTree(folder);
      },
      processes,
      mode: async () => {
        const passthrough = (await status()).get('passthrough');
        if (passthrough === undefined) throw new TemplatefsError('ENGINE_FAILED', 'the engine does not say whether it has passthrough');
        return {
          caching: `passthrough ${passthrough}: pages of the object; attributes and entries kept without end`,
          durability: 'copy-up fsyncs what it copies before the rename; metadata changes copy nothing',
        };
      },
      requests: async () =>
        new Map([...(await status())].filter(([key]) => key.startsWith('op.')).map(([key, count]) => [key.slice(3), Number(count)])),
    };
  },
};
