import { appendFileSync, chmodSync, copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { containerdScripts } from '../support/containerd-scripts.js';
import { buildRoot, compareTrees } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import type { RuntimeScripts } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* The real containerd on the snapshotter, with images that umoci makes; umoci's own unpacking says what is right. */

/** How often containerd and the snapshotter are killed: more with `npm run test:containerd -- ROUNDS`. */
const ROUNDS = Number(process.env['TEMPLATEFS_CONTAINERD_ROUNDS'] ?? 2);
const PARALLEL = 20;
const IMAGE = 'docker.io/test/image';

const scratch = useScratch();
let layout = '';
let archives = '';
let unpacked = '';
let store: TestStore;
let scripts: RuntimeScripts;

/** Changes what an image holds, and makes another image of it with one layer more. */
async function addLayer(from: string, to: string, change: (root: string) => void | Promise<void>): Promise<void> {
  const bundle = scratch.path('bundle');
  await runOk('umoci', ['unpack', '--image', `${layout}:${from}`, bundle]);
  await change(join(bundle, 'rootfs'));
  await runOk('umoci', ['repack', '--image', `${layout}:${to}`, bundle]);
  await runOk('rm', ['-rf', bundle]);
}

/** An archive of one image, as `ctr images import` takes it. */
async function archive(tag: string): Promise<void> {
  await runOk('skopeo', ['copy', '--quiet', `oci:${layout}:${tag}`, `docker-archive:${join(archives, tag)}.tar:${IMAGE}:${tag}`]);
}

beforeAll(async () => {
  layout = join(scratch.makeFolder('layouts'), 'images');
  archives = scratch.makeFolder('archives');
  await runOk('umoci', ['init', '--layout', layout]);
  await runOk('umoci', ['new', '--image', `${layout}:base`]);
  await addLayer('base', 'base', async (root) => {
    await buildRoot(root);
    // Docker's archives, which skopeo writes here, cannot hold two names of a device, nor sockets.
    rmSync(join(root, 'dev/disk-2'));
  });
  await addLayer('base', 'web', (root) => {
    rmSync(join(root, 'usr/lib/file'));
    rmSync(join(root, 'data/folder'), { recursive: true });
    rmSync(join(root, 'usr/lib/folder'), { recursive: true });
    mkdirSync(join(root, 'usr/lib/folder'));
    writeFileSync(join(root, 'usr/lib/folder/new'), 'in a folder that was made anew\n');
    appendFileSync(join(root, 'data/hard-a'), 'and more\n');
    writeFileSync(join(root, 'common'), 'the same in two images that share no layer\n'.repeat(100));
  });
  // Layers with whiteouts of every form: umoci writes opaque ones only when it is told to.
  const made = scratch.makeFolder('opaque');
  writeFileSync(join(made, 'only'), 'what an opaque folder shows\n');
  await runOk('umoci', ['insert', '--image', `${layout}:web`, '--opaque', made, '/usr/lib/many']);
  await runOk('umoci', ['insert', '--image', `${layout}:web`, '--whiteout', '/data/hard-b']);
  for (let number = 0; number < 6; number++) {
    await addLayer('web', 'web', (root) => {
      writeFileSync(join(root, `layer-${number}`), String(number));
      if (number > 0) renameSync(join(root, `layer-${number - 1}`), join(root, `was-${number - 1}`));
      if (number === 3) rmSync(join(root, 'was-0'));
      if (number === 4) symlinkSync('layer-4', join(root, 'was-0'));
    });
  }
  await archive('web');
  // Small ones on one layer, for many at once.
  await runOk('umoci', ['new', '--image', `${layout}:small`]);
  await addLayer('small', 'small', (root) => {
    mkdirSync(join(root, 'bin'));
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
    chmodSync(join(root, 'bin/busybox'), 0o755);
    for (const name of ['sh', 'cat', 'echo']) symlinkSync('busybox', join(root, 'bin', name));
    writeFileSync(join(root, 'common'), 'the same in two images that share no layer\n'.repeat(100));
  });
  const more = scratch.makeFolder('more');
  for (let number = 0; number < PARALLEL; number++) {
    writeFileSync(join(more, 'number'), `${number}\n`);
    await runOk('umoci', ['insert', '--image', `${layout}:small`, '--tag', `n${number}`, join(more, 'number'), '/number']);
    await archive(`n${number}`);
  }
  const bundle = scratch.path('reference');
  await runOk('umoci', ['unpack', '--image', `${layout}:web`, bundle]);
  unpacked = join(bundle, 'rootfs');
}, 600_000);

function begin(): void {
  store = scratch.makeStore();
  scripts = containerdScripts(scratch, store);
}

afterEach(async () => {
  await store.expectSound();
});

const importing = (tag: string): string => `ctr images import --snapshotter templatefs ${archives}/${tag}.tar > /dev/null`;

describe('an image of many layers', () => {
  test('unpack, run, diff, commit, remove', { timeout: 300_000 }, async () => {
    begin();
    const seen = scratch.path('seen');
    const lines = await scripts.lines(
      `start
      ${importing('web')}
      ctr images check | grep -c 'docker.io/test/image:web.*complete.*true' || ctr images check
      ctr images mount --snapshotter templatefs ${IMAGE}:web /srv >/dev/null
      cp -a --sparse=always /srv ${seen}
      ctr images unmount --rm --snapshotter templatefs /srv >/dev/null
      ctr_run --snapshotter templatefs ${IMAGE}:web r1 /bin/sh -c 'cat /layer-5; echo; id -u'
      ctr run -d --snapshotter templatefs ${IMAGE}:web r2 /bin/sh -c 'echo here > /root/made; rm -rf /usr/lib/many; echo up > /root/up; while :; do sleep 0.05; done' < /dev/null
      root=$(ctr snapshots --snapshotter templatefs mounts /x r2 | sed 's/.*bind \\(\\S*\\) .*/\\1/')
      until_true "[ -e $root/root/up ]"
      ctr snapshots --snapshotter templatefs usage r2 | tail -n 1 | awk '{ print $1 }'
      ctr snapshots --snapshotter templatefs diff r2 | tar -t | grep -E 'root/made|usr/lib/.wh' | sort
      ctr tasks kill -s KILL r2
      until_true 'ctr tasks ls | grep "r2 .*STOPPED"'
      ctr tasks delete r2 || :
      ctr containers delete --keep-snapshot r2
      ctr snapshots --snapshotter templatefs commit my-layer r2
      ctr snapshots --snapshotter templatefs info my-layer | grep Kind
      ctr snapshots --snapshotter templatefs view look my-layer > /dev/null
      cat $(ctr snapshots --snapshotter templatefs mounts /x look | sed 's/.*bind \\(\\S*\\) .*/\\1/')/root/made
      ctr snapshots --snapshotter templatefs rm look
      ctr snapshots --snapshotter templatefs rm my-layer
      ctr images rm --sync ${IMAGE}:web > /dev/null
      until_true all_gone
      roots
      stop_all >&2`,
      'stop_all',
    );
    expect(lines).toEqual(['1', '5', '0', 'r2', expect.any(String), 'root/made', 'usr/lib/.wh.many', '    "Kind": "Committed",', 'here'].filter((line) => line !== 'r2'));
    // Sockets are in no layer.
    expect((await compareTrees(unpacked, seen)).differences).toBe('');
  });
});
