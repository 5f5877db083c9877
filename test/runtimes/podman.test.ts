import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { documentedExamples, makeRuntimeStore, RuntimeScripts, TEMPLATE } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* `podman run --rootfs` on mounted roots. */

const scratch = useScratch();
let store: TestStore;
let scripts: RuntimeScripts;

beforeAll(async () => {
  store = await makeRuntimeStore(scratch);
  const folder = scratch.makeFolder('podman');
  // No cgroups and no higher limits: a machine that is itself a container may have leave for neither.
  writeFileSync(
    join(folder, 'containers.conf'),
    '[containers]\ncgroups = "disabled"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n',
  );
  writeFileSync(join(folder, 'storage.conf'), `[storage]\ndriver = "vfs"\ngraphroot = "${folder}/graph"\nrunroot = "/run/podman-test"\n`);
  scripts = new RuntimeScripts(scratch, store, `export CONTAINERS_CONF='${folder}/containers.conf' CONTAINERS_STORAGE_CONF='${folder}/storage.conf'`);
});

beforeEach(async () => {
  for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name);
});

const cleanUp = 'podman rm --all --force --time 0 || :';

test('the examples of the documentation', async () => {
  const [plain = '', mapped = ''] = documentedExamples('podman');
  expect(await scripts.lines(`${plain}\nstate c1\ntemplatefs diff c1 | grep greeting`, cleanUp)).toEqual(['created container c1 from debian-12-x86_64', '0', '"stopped" null ', 'A /root/greeting']);
  const lines = await scripts.lines(`${mapped}\nstate c2`, cleanUp);
  expect(lines.map((line) => line.trim().replaceAll(/ +/g, ' '))).toEqual(['created container c2 from debian-12-x86_64', '0 100000 65536', '"stopped" null']);
});

test('a container in the background, its monitor killed, its engine killed: the root can be unmounted and started on again', async () => {
  await store.ok('create', 'c1', '--ostemplate', TEMPLATE);
  const lines = await scripts.lines(
    `mkdir /srv/c1
    start() { podman run --detach --name k1 --network none --rootfs /srv/c1 /sbin/init >/dev/null; until_true "[ \\$(wc -l < /srv/c1/root/starts) = $1 ]"; }
    mount -t fuse.templatefs c1 /srv/c1
    start 1
    podman exec k1 /bin/sh -c 'echo exec > /root/exec; id -u'
    kill -KILL $(podman inspect --format '{{.State.ConmonPid}}' k1)
    podman rm --force --time 0 k1
    cat /srv/c1/root/exec
    start 2
    kill_engine c1
    podman rm --force --time 0 k1
    umount /srv/c1
    mount -t fuse.templatefs c1 /srv/c1 2>/dev/null
    start 3
    podman stop --time 0 k1 2>/dev/null
    podman rm k1
    umount /srv/c1
    state c1
    podman ps --all --quiet`,
    cleanUp,
  );
  expect(lines).toEqual(['0', 'k1', 'exec', 'k1', 'k1', 'k1', '"stopped" null ']);
});
