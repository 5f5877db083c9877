import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PROJECT } from '../support/project.js';
import { documentedExamples, makeRuntimeStore, RuntimeScripts, TEMPLATE } from '../support/runtime-scripts.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* integrations/lxc, with the real LXC. */

const scratch = useScratch();
let store: TestStore;
let scripts: RuntimeScripts;

beforeAll(async () => {
  store = await makeRuntimeStore(scratch);
  scripts = new RuntimeScripts(scratch, store, `
    mount -t tmpfs -o mode=755 tmpfs /var/lib/lxc
    mount -t tmpfs -o mode=755 tmpfs /usr/share/lxc/templates
    # Debian's default has a network on a bridge.
    echo 'lxc.net.0.type = empty' >/run/default.conf
    mount --bind /run/default.conf /etc/lxc/default.conf
    export HOME=/run
    lxc_start() { lxc-start --logfile /run/log --logpriority INFO "$@" || { tail -20 /run/log >&2; return 1; }; }
    # The hook comes after the container's last process.
    until_unmounted() { until_true '[ -z "$(roots)" ]'; }
    starts() { templatefs exec $1 -- cat /root/starts | wc -l; }`);
});

beforeEach(async () => {
  for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name);
});

/** LXC leaves empty cgroups of its own behind. */
const cleanUp = `for name in $(lxc-ls); do lxc-stop --kill -n $name || :; done
  for folder in /sys/fs/cgroup /sys/fs/cgroup/*; do rmdir $folder/lxc.pivot $folder/lxc.monitor.c[12o]* $folder/lxc.payload.c[12o]* || :; done 2>/dev/null`;

describe('the examples of the documentation', () => {
  test('plain, and what was written is there until destroy', async () => {
    const [plain = ''] = documentedExamples('LXC');
    const example = plain
      .replace('lxc-stop -n c1\n', (stop) => `state c1\n${stop}until_unmounted\nstate c1\nstarts c1\n`)
      .replace('lxc-stop -n copy\n', (stop) => `lxc-attach -n copy -- /bin/cat /root/greeting /proc/sys/kernel/hostname\n${stop}until_unmounted\nstarts copy\ntemplatefs diff copy | grep root/\nstarts c1\n`);
    expect(example.split('until_unmounted')).toHaveLength(3);
    expect(await scripts.lines(`${example}\ntemplatefs --json list\nls /var/lib/lxc`, cleanUp)).toEqual(
      ['0', '"mounted" null ', '"stopped" null ', '1', 'hello', 'copy', '2', 'A /root/greeting', 'A /root/starts', '1', '[]'],
    );
  });

  test('with ids mapped; nothing is chowned', async () => {
    const [plain = '', mapped = ''] = documentedExamples('LXC');
    const [link = ''] = plain.split('\n');
    const example = mapped.replace('lxc-stop -n c2\n', (stop) => `stat -c %u /var/lib/lxc/c2/rootfs/root/starts\n${stop}until_unmounted\ntemplatefs diff c2\n`);
    expect(example).not.toBe(mapped);
    const lines = await scripts.lines(`${link}\n${example}\ntemplatefs --json list\nls /var/lib/lxc`, cleanUp);
    expect(lines.map((line) => line.trim().replaceAll(/ +/g, ' '))).toEqual(['0 100000 65536', '100000', 'C /root', 'A /root/starts', '[]']);
  });
});

const create = (...options: string[]): string => `lxc-create -n c1 -t '${PROJECT}integrations/lxc/lxc-templatefs' -- --ostemplate ${TEMPLATE} ${options.join(' ')} >&2`;

test('a monitor that was killed, an engine that was killed, both: the next start mends', async () => {
  const lines = await scripts.lines(
    `${create()}
    monitor() { sed -n 's/^PPid:\\t//p' /proc/$(lxc-info -n c1 -pH)/status; }
    kill_monitor() { kill -KILL $(monitor); until_true '! lxc-ls --running | grep c1'; }
    lxc_start -n c1
    kill_monitor
    lxc-ls --running
    state c1
    lxc_start -n c1
    kill_engine c1
    lxc-stop --kill -n c1
    until_unmounted
    lxc_start -n c1
    both=$(monitor)
    kill_engine c1
    # Without its root the container may have ended, and the monitor with it.
    kill -KILL $both 2>/dev/null || :
    until_true '! lxc-ls --running | grep c1'
    lxc_start -n c1
    lxc-stop -n c1
    until_unmounted
    state c1
    starts c1
    lxc_start -n c1
    kill_monitor
    lxc-destroy -n c1
    roots
    templatefs --json list`,
    cleanUp,
  );
  expect(lines).toEqual(['"mounted" null ', '"stopped" null ', '4', '[]']);
  await store.expectSound();
});

test('a configuration that is written by hand, with the include', async () => {
  const lines = await scripts.lines(
    `templatefs create c1 --ostemplate ${TEMPLATE} >&2
    mkdir -p /var/lib/lxc/c1/rootfs
    cat >/var/lib/lxc/c1/config <<'END'
lxc.include = /usr/share/lxc/config/common.conf
lxc.include = ${join(PROJECT, 'integrations/lxc/templatefs.conf')}
lxc.rootfs.path = dir:/var/lib/lxc/c1/rootfs
lxc.uts.name = by-hand
END
    lxc_start -n c1
    lxc-attach -n c1 -- cat /proc/sys/kernel/hostname
    lxc-stop -n c1
    until_unmounted
    state c1`,
    cleanUp,
  );
  expect(lines).toEqual(['by-hand', '"stopped" null ']);
});

test('what cannot start says why, and leaves nothing', async () => {
  const refused = async (script: string, message: RegExp): Promise<void> => {
    const ended = await scripts.run(`${script}\n`, cleanUp);
    expect(ended.status).not.toBe(0);
    expect(ended.stderr).toMatch(message);
  };
  await refused(create().replace(`--ostemplate ${TEMPLATE}`, ''), /--ostemplate is missing/);
  await refused(create().replace(TEMPLATE, 'none'), /there is no template "none"/);
  await refused(create('--quota-size', 'x'), /x/);
  await refused(`unshare --user --map-root-user ${create()}`.replace('lxc-create -n c1 -t', '').replace(' -- ', ' --name=c1 --path=/run '), /user namespace/);
  expect(await store.json('list')).toEqual([]);
  // Somebody else has the root mounted.
  await store.ok('create', 'c1', '--ostemplate', TEMPLATE);
  await refused(
    `mkdir -p /var/lib/lxc/c1/rootfs /srv/c1
    printf 'lxc.include = %s\\nlxc.rootfs.path = dir:/var/lib/lxc/c1/rootfs\\n' '${PROJECT}integrations/lxc/templatefs.conf' >/var/lib/lxc/c1/config
    mount -t fuse.templatefs c1 /srv/c1
    lxc-start -n c1 -F --logpriority DEBUG --logfile /run/log || { cat /run/log >&2; false; }`,
    /c1 is mounted at \/srv\/c1/,
  );
  expect(await store.info('c1')).toMatchObject({ state: 'stopped', stale: null });
});
