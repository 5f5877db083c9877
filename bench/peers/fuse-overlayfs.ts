import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../../src/core/errors.js';
import { isMounted, unmount, waitForEnd, waitUntil } from '../runner/mounts.js';
import { runProgram } from '../runner/run-program.js';
import type { Peer } from './peer.js';

async function version(): Promise<string> {
  const text = await runProgram('fuse-overlayfs', ['--version']);
  return /fuse-overlayfs: version (\S+)/.exec(text)?.[1] ?? 'unknown version';
}

/** In the foreground, so that its end can be seen; in its own group, so that Ctrl-C leaves the unmounting to us. */
async function start(lower: string, upper: string, work: string, path: string): Promise<ChildProcess> {
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  const child = spawn('fuse-overlayfs', ['-f', '-o', options, path], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let stderr = '';
  let ended = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-1000)));
  child.once('error', () => (ended = true));
  child.once('exit', () => (ended = true));
  await waitUntil('fuse-overlayfs has mounted', () => ended || isMounted(path));
  if (!isMounted(path)) throw new TemplatefsError('FAILED', `fuse-overlayfs did not mount: ${stderr.trim()}`);
  return child;
}

export const fuseOverlayfs: Peer = {
  name: 'fuse-overlayfs',
  what: 'fuse-overlayfs over the unpacked root; what rootless containers used before kernels allowed them overlayfs',
  async unusable() {
    try {
      await version();
      return undefined;
    } catch {
      return 'fuse-overlayfs is not installed';
    }
  },
  async makeRoot(input, slot) {
    const [lower, folder] = await Promise.all([input.unpacked(), input.slotFolder(slot)]);
    const [upper, work, path] = ['upper', 'work', 'root'].map((name) => join(folder, name)) as [string, string, string];
    for (const made of [upper, work, path]) await mkdir(made);
    let daemon: ChildProcess | undefined;
    return {
      path,
      mount: async () => {
        daemon = await start(lower, upper, work, path);
      },
      unmount: async () => {
        await unmount(path);
        if (daemon?.pid !== undefined) await waitForEnd('fuse-overlayfs', [daemon.pid]);
        daemon = undefined;
      },
      mode: async () => ({
        caching: `version ${await version()}, its defaults: pages of its own beside those of the lower file`,
        durability: 'copy-up copies the whole file and does not fsync',
      }),
    };
  },
};
