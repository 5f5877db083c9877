import { appendFileSync, chmodSync, copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { containerdScripts } from '../support/containerd-scripts.js';
import { Registry } from '../support/registry.js';
import { buildRoot, compareTrees } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import type { RuntimeScripts } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* The real containerd on the snapshotter, with images that umoci makes; its own snapshotter `native` says what is right. */

/** How often containerd and the snapshotter are killed: more with `npm run test:containerd -- --rounds N`. */
const ROUNDS = Number(process.env['TEMPLATEFS_CONTAINERD_ROUNDS'] ?? 1);
/** A minute each: one of them will do for CI. */
const VICTIMS = process.env['TEMPLATEFS_CONTAINERD_ROUNDS'] === undefined ? ['both'] : ['snapshotter', 'containerd', 'both'];
const PARALLEL = 20;
/** A loaded machine may take its time. */
const SCRIPT_MS = 900_000 + ROUNDS * 60_000;

const scratch = useScratch();
let registry: Registry | undefined;
let image = '';
let layout = '';
let archive = '';
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

/** Puts an image into the registry. */
async function push(tag: string): Promise<void> {
  await runOk('skopeo', ['copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:${tag}`, `docker://${image}:${tag}`]);
}

beforeAll(async () => {
  layout = join(scratch.makeFolder('layouts'), 'images');
  registry = await Registry.start(scratch);
  image = `${registry.address}/test/image`;
  await runOk('umoci', ['init', '--layout', layout]);
  await runOk('umoci', ['new', '--image', `${layout}:base`]);
  await addLayer('base', 'base', async (root) => {
    await buildRoot(root);
    // containerd cannot unpack two names of a device.
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
  await push('web');
  archive = scratch.path('web.tar');
  await runOk('skopeo', ['copy', '--quiet', `oci:${layout}:web`, `docker-archive:${archive}:${image}:web`]);
  // Small ones on one layer, for many at once.
  await runOk('umoci', ['new', '--image', `${layout}:small`]);
  await addLayer('small', 'small', (root) => {
    mkdirSync(join(root, 'bin'));
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
    chmodSync(join(root, 'bin/busybox'), 0o755);
    for (const name of ['sh', 'cat', 'echo', 'sleep']) symlinkSync('busybox', join(root, 'bin', name));
    writeFileSync(join(root, 'common'), 'the same in two images that share no layer\n'.repeat(100));
  });
  const more = scratch.makeFolder('more');
  for (let number = 0; number < PARALLEL; number++) {
    writeFileSync(join(more, 'number'), `${number}\n`);
    await runOk('umoci', ['insert', '--image', `${layout}:small`, '--tag', `n${number}`, join(more, 'number'), '/number']);
    await push(`n${number}`);
  }
}, 600_000);

afterAll(() => {
  registry?.end();
});

function begin(): void {
  store = scratch.makeStore();
  scripts = containerdScripts(scratch, store);
}

afterEach(async () => {
  await store.expectSound();
});

const pulling = (tag: string): string => `ctr images pull --plain-http --snapshotter templatefs ${image}:${tag} > /dev/null`;

describe('an image of many layers', () => {
  test('unpack, run, diff, commit, remove', { timeout: 300_000 }, async () => {
    begin();
    const [seen, wanted, looked] = [scratch.path('seen'), scratch.path('wanted'), scratch.path('looked')];
    const lines = await scripts.lines(
      `start
      ctr images import --snapshotter templatefs ${archive} > /dev/null
      ctr images check | grep -c '${image}:web.*complete.*true'
      ctr images mount --snapshotter templatefs ${image}:web /srv >/dev/null
      cp -a --sparse=always /srv ${seen}
      ctr images unmount --rm --snapshotter templatefs /srv >/dev/null
      ctr images mount --snapshotter native ${image}:web /srv >/dev/null
      cp -a --sparse=always /srv ${wanted}
      ctr images unmount --rm --snapshotter native /srv >/dev/null
      ctr_run --snapshotter templatefs ${image}:web r1 /bin/sh -c 'cat /layer-5; echo; id -u'
      ctr run -d --snapshotter templatefs ${image}:web r2 /bin/sh -c 'echo here > /root/made; rm -rf /usr/lib/many; echo up > /root/up; while :; do sleep 0.05; done' < /dev/null
      root=$(ctr snapshots --snapshotter templatefs mounts /x r2 | sed 's/.*bind \\(\\S*\\) .*/\\1/')
      until_true "[ -e $root/root/up ]"
      ctr snapshots --snapshotter templatefs usage r2 | tail -n 1 | awk '{ print $1, ($NF > 0) }'
      ctr snapshots --snapshotter templatefs diff r2 | tar -tz | grep -E 'root/made|usr/lib/.wh' | sort
      ctr tasks kill -s KILL r2
      until_true 'ctr tasks ls | grep "r2 .*STOPPED"'
      ctr tasks delete r2 || :
      ctr containers delete --keep-snapshot r2
      ctr snapshots --snapshotter templatefs commit my-layer r2
      ctr snapshots --snapshotter templatefs info my-layer | grep Kind
      # Nothing refers to a view: a collection may take it before it is looked at.
      look() {
        ctr snapshots --snapshotter templatefs view look my-layer
        cp "$(ctr snapshots --snapshotter templatefs mounts /x look | sed 's/.*bind \\(\\S*\\) .*/\\1/')/root/made" ${looked}
      }
      until_true look
      cat ${looked}
      until_true 'remove_snapshot look'
      until_true 'remove_snapshot my-layer'
      ctr images rm --sync ${image}:web > /dev/null
      until_gone
      roots
      stop_all >&2`,
      'stop_all',
      SCRIPT_MS,
    );
    expect(lines).toEqual(['1', '5', '0', 'r2 1', 'root/made', 'usr/lib/.wh.many', '    "Kind": "Committed",', 'here']);
    // containerd sets no times of folders that later layers have changed.
    expect((await compareTrees(wanted, seen, '--any-mtime')).differences).toBe('');
  });

  test('another namespace of containerd, and a containerd that has lost all that it knew, store no file again', { timeout: 300_000 }, async () => {
    begin();
    const lines = await scripts.lines(
      `start
      objects() { find $TEMPLATEFS_STORE/objects -type f | wc -l; }
      ${pulling('n1')}
      before=$(objects)
      CONTAINERD_NAMESPACE=other ${pulling('n1')}
      CONTAINERD_NAMESPACE=other ctr_run ${image}:n1 r1 /bin/cat /number
      # Each namespace lets go of it for itself.
      ctr images rm --sync ${image}:n1 > /dev/null
      CONTAINERD_NAMESPACE=other ctr_run ${image}:n1 r1 /bin/cat /number
      kill_and_wait TERM $containerd_pid
      rm -rf $run_folder/root
      start_containerd
      ${pulling('n1')}
      ctr_run ${image}:n1 r1 /bin/cat /number
      echo $(( $(objects) - before ))
      stop_all >&2`,
      'stop_all',
      SCRIPT_MS,
    );
    expect(lines).toEqual(['1', '1', '1', '0']);
  });
});

describe('many at once', () => {
  test(`${PARALLEL} images are pulled in parallel, run, and removed`, { timeout: 600_000 }, async () => {
    begin();
    const numbers = [...Array(PARALLEL).keys()].join(' ');
    const lines = await scripts.lines(
      `start
      pids=
      for n in ${numbers}; do ${pulling('n$n')} & pids="$pids $!"; done
      for pid in $pids; do wait $pid || echo "pull failed"; done
      # One layer that all have, and one of each; and the empty root.
      ls $TEMPLATEFS_STORE/templates | wc -l
      for n in 0 7 19; do ctr_run ${image}:n$n r$n /bin/cat /number; done
      for n in ${numbers}; do ctr images rm ${image}:n$n > /dev/null; done
      ctr images rm --sync ${image}:n0 > /dev/null 2>&1 || :
      until_gone
      stop_all >&2
      templatefs gc > /dev/null
      find $TEMPLATEFS_STORE/objects -type f | wc -l`,
      'stop_all',
      SCRIPT_MS,
    );
    expect(lines).toEqual([String(PARALLEL + 2), '0', '7', '19', '0']);
  });
});

describe('killed in the middle', () => {
  test.each(VICTIMS)('%s: what is tried again succeeds, containers go on, nothing is left', { timeout: SCRIPT_MS }, async (victim) => {
    begin();
    const lines = await scripts.lines(
      `start
      ${pulling('n0')}
      ctr run -d --snapshotter templatefs ${image}:n0 runs /bin/sh -c 'while :; do echo on >> /log; sleep 0.05; done' < /dev/null
      root=$(ctr snapshots --snapshotter templatefs mounts /x runs | sed 's/.*bind \\(\\S*\\) .*/\\1/')
      revive() {
        case ${victim} in snapshotter | both) kill_and_wait KILL $snapshotter_pid; start_snapshotter ;; esac
        case ${victim} in containerd | both) kill_and_wait KILL $containerd_pid; start_containerd ;; esac
      }
      for round in $(seq ${ROUNDS}); do
        tag=n$(( round % ${PARALLEL - 1} + 1 ))
        ${pulling('web')} 2>&1 & pull_pid=$!
        ${pulling('$tag')} 2>&1 & other_pid=$!
        sleep 0.$(( (round * 37 + $$) % 90 + 10 ))
        revive
        wait $pull_pid || :; wait $other_pid || :
        # containerd dials a snapshotter that was away for it again only after a second.
        until_true "${pulling('web')}"
        until_true "${pulling('$tag')}"
        ctr_run ${image}:web r$round /bin/sh -c 'cat /layer-5'
        echo
        ctr_run ${image}:$tag r$round /bin/cat /number
        size=$(stat -c %s $root/log)
        until_true "[ \\$(stat -c %s $root/log) -gt $size ]"
        ctr images rm ${image}:$tag > /dev/null
        # Killed while it removes.
        ctr images rm --sync ${image}:web > /dev/null 2>&1 & remove_pid=$!
        sleep 0.0$(( round % 9 ))
        revive
        wait $remove_pid || :
      done
      ctr images rm ${image}:web > /dev/null 2>&1 || :
      ctr tasks kill -s KILL runs
      until_true 'ctr tasks ls | grep "runs .*STOPPED"'
      ctr tasks delete runs > /dev/null 2>&1 || :
      ctr containers delete runs
      ctr images rm --sync ${image}:n0 > /dev/null
      # A pull that containerd's end has cut short keeps what it had for a day.
      for lease in $(ctr leases ls -q); do ctr leases rm --sync $lease > /dev/null; done
      until_gone
      stop_all >&2`,
      'stop_all',
      SCRIPT_MS,
    );
    expect(lines).toEqual([...Array(ROUNDS).keys()].flatMap((round) => ['5', String(((round + 1) % (PARALLEL - 1)) + 1)]));
  });
});
