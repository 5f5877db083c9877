import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerdDaemon } from '../containerd/daemon.js';
import { IMAGE_NAMES, imageName, relatedImages } from '../containerd/related-images.js';
import { dropCaches, syncVolume } from '../runner/drop-caches.js';
import { runProgram } from '../runner/run-program.js';
import type { Sample } from '../runner/sample.js';
import type { RunContext, Scenario } from './scenario.js';

const ONLY = ['overlayfs', 'templatefs'];

async function startWithImages({ input, slot, peer, checkout, cacheFolder, quick, signal }: RunContext): Promise<ContainerdDaemon> {
  const baseTar = input.tar;
  if (baseTar === undefined) throw new Error('images are made of a tar');
  const archive = await relatedImages({ baseTar, cacheFolder, quick, signal });
  const snapshotter = peer.name === 'templatefs' ? 'templatefs' : 'overlayfs';
  const daemon = await ContainerdDaemon.start({ folder: join(input.places.volume, 'containerd', slot), snapshotter, checkout, signal });
  try {
    await daemon.ctr('images', 'import', '--snapshotter', snapshotter, archive);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return daemon;
}

const DISK_ATTEMPTS = 10;

/** Bytes that the snapshotter keeps. What runs makes and removes files meanwhile (a database's journal), which du takes for an error. */
async function diskOf({ snapshotFolder }: ContainerdDaemon, signal: AbortSignal): Promise<number> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return Number((await runProgram('du', ['-x', '-s', '-B1', snapshotFolder], { signal })).split('\t')[0]);
    } catch (error) {
      if (attempt === DISK_ATTEMPTS || signal.aborted) throw error;
    }
  }
}

/** All files that may have pages: those behind the roots, and, where roots may have pages of their own, those of the roots. */
async function filesWithPages(daemon: ContainerdDaemon, { input, slot, signal }: RunContext): Promise<string> {
  const folders = daemon.snapshotter === 'templatefs' ? [join(daemon.store, 'objects'), join(daemon.store, 'private'), join(daemon.store, 'root')] : [daemon.snapshotFolder];
  const files = await runProgram('find', [...folders, '-type', 'f', '-not', '-path', '*\n*'], { signal });
  const list = join(input.places.scratch, `resident-${slot}`);
  await writeFile(list, files);
  return list;
}

async function measureImages(daemon: ContainerdDaemon, context: RunContext): Promise<ReadonlyMap<string, Sample>> {
  const { driver, input, signal } = context;
  await syncVolume(input.places.volume, signal);
  const disk = await diskOf(daemon, signal);
  const ids: string[] = [];
  try {
    for (const name of IMAGE_NAMES) {
      await daemon.ctr('run', '--detach', '--snapshotter', daemon.snapshotter, imageName(name), name, '/bin/sleep', '100000');
      ids.push(name);
    }
    await dropCaches(input.places.volume, signal);
    for (const id of ids) await daemon.ctr('tasks', 'exec', '--exec-id', 'read', id, '/bin/sh', '-c', 'find / -xdev -type f -exec cat {} + > /dev/null');
    const { work } = await driver.run(['resident', await filesWithPages(daemon, context)], signal);
    return new Map([['disk', { value: disk, work: {} }], ['page cache', { value: work['bytes'] ?? 0, work: {} }]]);
  } finally {
    for (const id of ids) await daemon.ctr('tasks', 'delete', '--force', id).catch(() => '');
  }
}

export const containerdImages: Scenario = {
  name: 'containerd-images',
  group: 'memory',
  what: "five related images in containerd, by its overlayfs snapshotter and by ours: three applications on one base layer, newer versions of two of them on the base layer of a later day. Disk: what the snapshotter keeps; page cache: when all five run and have read all their files, each page of memory counted once",
  meaning: 'how many images and containers fit on a node',
  durability: 'all is on disk before it is counted',
  variants: [{ name: '', ready: 'own' }],
  input: 'debian',
  unit: 'bytes',
  weight: 'counted',
  only: ONLY,
  run: async (_root, context) => {
    const daemon = await startWithImages(context);
    try {
      return await measureImages(daemon, context);
    } finally {
      await daemon.stop();
    }
  },
};

const daemons = new Map<string, ContainerdDaemon>();

export const containerdRun: Scenario = {
  name: 'containerd-run',
  group: 'work',
  what: '`ctr run` on an image that was unpacked: from the start of ctr to the moment when the first command in the container reads the clock',
  meaning: 'how long a user of containerd waits for a container',
  durability: 'nothing is written',
  variants: [{ name: 'warm', ready: 'own' }],
  input: 'debian',
  weight: 'medium',
  only: ONLY,
  setUp: async (_root, context) => {
    const daemon = await startWithImages(context);
    daemons.set(context.slot, daemon);
    await daemon.run(imageName('web-1'), '/bin/date', '+%s%N');
  },
  run: async (_root, { slot }) => {
    const daemon = daemons.get(slot);
    if (daemon === undefined) throw new Error('no containerd was started');
    const { stdout, startedNs } = await daemon.run(imageName('web-1'), '/bin/date', '+%s%N');
    return { value: Number(stdout.trim()) - startedNs, work: {} };
  },
  tearDown: async (_root, { slot }) => {
    await daemons.get(slot)?.stop();
    daemons.delete(slot);
  },
};
