import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { acquireLock } from '../../src/catalog/lock.js';
import { StorePaths } from '../../src/core/store-paths.js';
import { MountHelper, makePlace, mountLine } from '../support/mount-helper.js';
import { CLI, ENGINE, PROJECT } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* docs/mount-helper.md: mount(8) mounts containers, without Node.js and without the catalog. */

const scratch = useScratch();
let store: TestStore;
let helper: MountHelper;
let place = '';

beforeAll(async () => {
  store = scratch.makeStore();
  helper = new MountHelper(scratch);
  await store.make(await buildRoot(scratch.path('template')), 'c1', 'c2', 'mapped');
});
beforeEach(() => {
  place = makePlace(scratch, 'place');
});

const mount = (container: string, options?: string) => helper.run(store.path, container, place, options);

async function waitForEnd(pid: number): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (existsSync(`/proc/${pid}`)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} has not ended`);
    await sleep(5);
  }
}

const holder = (container: string): number => Number(store.engineFile(container).get('holder'));

async function unmount(container: string): Promise<void> {
  const pid = holder(container);
  await runOk('umount', [String(store.engineFile(container).get('mountpoint')).replaceAll('%20', ' ')]);
  await waitForEnd(pid);
}

describe('mounting by the helper', () => {
  test('is silent; the root is live on return; umount(8) leaves the container unmounted', async () => {
    expect(await mount('c1')).toEqual({ status: 0, signal: null, stdout: '', stderr: '' });
    expect(readFileSync(join(place, 'usr/lib/file'), 'utf8')).toBe('from the template\n');
    expect(mountLine(place)).toMatchObject({ source: 'c1', type: 'fuse.templatefs' });
    writeFileSync(join(place, 'data/made'), 'kept');
    expect(await store.info('c1')).toMatchObject({ state: 'mounted', root: place, stale: null });
    await unmount('c1');
    expect(await store.info('c1')).toMatchObject({ state: 'stopped', stale: null });
    // The two ways see one container.
    expect(readFileSync(join(await store.mount('c1'), 'data/made'), 'utf8')).toBe('kept');
    await store.ok('umount', 'c1');
  });

  test('leaves no descriptor of the caller’s open', async () => {
    const ended = await runProgram('sh', ['-c', `exec 7</etc/passwd; "$0" "$@" | cat`, helper.path, 'c1', place, '-o', `store=${store.path}`], { timeoutMs: 20_000 });
    expect(ended).toMatchObject({ status: 0, stdout: '', stderr: '' });
    for (const who of ['holder', 'worker']) {
      const fds = `/proc/${store.engineFile('c1').get(who) ?? ''}/fd`;
      const open = readdirSync(fds).map((fd) => readlinkSync(join(fds, fd)));
      expect(open.filter((path) => path.includes('passwd') || path.includes('.locks'))).toEqual([]);
    }
    await unmount('c1');
  });

  test('options: ro, nosuid, fsname=, idmap=, nopassthrough', async () => {
    expect((await mount('mapped', 'ro,nosuid,fsname=some/where,idmap=0:100000:65536,nofail,x-systemd.automount')).status).toBe(0);
    expect(mountLine(place)?.source).toBe('some/where');
    expect(mountLine(place)?.options).toEqual(expect.arrayContaining(['ro', 'nosuid']));
    expect(lstatSync(join(place, 'usr/lib/file')).uid).toBe(100_000);
    await unmount('mapped');
    expect((await mount('mapped', 'nopassthrough,idmap=none')).status).toBe(0);
    expect(await store.info('mapped')).toMatchObject({ passthrough: false });
    expect(lstatSync(join(place, 'usr/lib/file')).uid).toBe(0);
    await unmount('mapped');
  });

  test('remount', async () => {
    expect((await mount('c1', 'fsname=x')).status).toBe(0);
    expect(await helper.run(store.path, 'x', place, 'remount,ro,noatime')).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(mountLine(place)?.options).toEqual(expect.arrayContaining(['ro', 'noatime']));
    expect(() => { writeFileSync(join(place, 'data/made'), ''); }).toThrow(/EROFS/);
    expect((await helper.run(store.path, 'x', place, 'remount,rw')).status).toBe(0);
    writeFileSync(join(place, 'data/made'), '');
    await unmount('c1');
    expect(await helper.run(store.path, 'x', place, 'remount,ro')).toMatchObject({ status: 32, stderr: expect.stringMatching(/no root .* is mounted/) as string });
  });

  test('works while the catalog is broken, and for a container that it has lost', async () => {
    const lost = scratch.makeStore();
    await lost.make(await buildRoot(scratch.path('template')), 'c1');
    writeFileSync(join(lost.path, 'catalog.sqlite'), 'no database');
    expect((await lost.run(['list'])).status).toBe(12);
    expect(await helper.run(lost.path, 'c1', place)).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(place, 'data/file'), 'utf8')).toBe('from the template\n');
    await runOk('umount', [place]);
  });
});

describe('what is refused', () => {
  test.each([
    ['a container that is not there', 'nobody', 'rw', 32, /no container nobody/],
    ['a name that is none', '.locks', 'rw', 1, /not a container name/],
    ['an unknown option', 'c1', 'barrier=0', 1, /barrier=0/],
    ['a map that is none', 'c1', 'idmap=5', 1, /idmap=5/],
  ])('%s', async (_name, container, options, status, message) => {
    const ended = await mount(container, options);
    expect(ended).toMatchObject({ status, stdout: '' });
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).toMatch(/^ {2}hint: \S/m);
    expect(mountLine(place)).toBeUndefined();
    expect(existsSync(join(store.path, 'run/nobody')) || existsSync(join(store.path, 'run/.locks/container-nobody'))).toBe(false);
  });

  test('places that are none: files, nothing, the store, what is above and in it', async () => {
    const file = scratch.path('file');
    writeFileSync(file, '');
    const link = scratch.path('link');
    symlinkSync(store.path, link);
    for (const bad of [file, '/nonexistent/place', store.path, join(store.path, 'objects'), '/', link, scratch.folder]) {
      expect(await helper.run(store.path, 'c1', bad), bad).toMatchObject({ status: 1, stderr: expect.stringContaining('mount point') as string });
    }
    expect((await store.info('c1')).state).toBe('stopped');
  });

  test('one that is mounted already, there or elsewhere; and a place that is taken', async () => {
    expect((await mount('c1')).status).toBe(0);
    expect(await mount('c1')).toMatchObject({ status: 32, stderr: expect.stringContaining(`c1 is mounted at ${place} already`) as string });
    const other = makePlace(scratch, 'other');
    expect(await helper.run(store.path, 'c1', other)).toMatchObject({ status: 32, stderr: expect.stringContaining(place) as string });
    expect(await mount('c2')).toMatchObject({ status: 32, stderr: expect.stringContaining('something else is mounted') as string });
    expect(existsSync(join(store.path, 'run/c2'))).toBe(false);
    // The command line takes the same mount as it is.
    expect(await store.mount('c1')).toBe(place);
    await unmount('c1');
  });

  test('one that a command works on: at once, unless it may wait', async () => {
    const held = await acquireLock({ paths: new StorePaths(store.path), name: 'container-c1', what: 'c1', mode: 'exclusive' });
    let release = (): void => { held.release(); };
    try {
      expect(await mount('c1')).toMatchObject({ status: 32, stderr: expect.stringMatching(new RegExp(`in use by pid ${process.pid} `)) as string });
      const waiting = mount('c1', 'wait=60');
      await sleep(200);
      release();
      release = () => undefined;
      expect(await waiting).toMatchObject({ status: 0, stderr: '' });
    } finally {
      release();
    }
    await unmount('c1');
  });

  test('others than root, a host without /dev/fuse, a store that cannot be written', async () => {
    const others = await runProgram('setpriv', ['--reuid', '65534', '--clear-groups', ENGINE, '--version']);
    expect(others.status, 'the engine itself can be run').toBe(0);
    const folder = scratch.makeFolder('public');
    chmodSync(folder, 0o755);
    await runOk('cp', [ENGINE, join(folder, 'mount.templatefs')]);
    expect(await runProgram('setpriv', ['--reuid', '65534', '--clear-groups', join(folder, 'mount.templatefs'), 'c1', place])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('only root') as string,
    });
    const without = await helper.script(`mount -t tmpfs none /dev; mknod /dev/null c 1 3; mount -t templatefs c1 '${place}' -o 'store=${store.path}'`);
    expect(without).toMatchObject({ status: 32, stderr: expect.stringContaining('no /dev/fuse') as string });
    const readOnly = await helper.script(`mount --bind '${store.path}' '${store.path}'; mount -o remount,bind,ro '${store.path}'; mount -t templatefs c1 '${place}' -o 'store=${store.path}'`);
    expect(readOnly).toMatchObject({ status: 32, stderr: expect.stringMatching(/cannot write the lock of c1 in the store/) as string });
    expect((await store.info('c1')).stale).toBe(null);
  });
});

describe('after a crash', () => {
  test('a dead mount is cleared away, and said; somebody else’s root at the old place stays', async () => {
    expect((await mount('c1')).status).toBe(0);
    const pids = [holder('c1'), store.workerPid('c1')];
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    for (const pid of pids) await waitForEnd(pid);
    const again = await mount('c1');
    expect(again).toMatchObject({ status: 0, stdout: '', stderr: expect.stringMatching(/cleared away .* is gone/) as string });
    expect(readFileSync(join(place, 'data/file'), 'utf8')).toBe('from the template\n');
    const more = [holder('c1'), store.workerPid('c1')];
    for (const pid of more) process.kill(pid, 'SIGSTOP');
    for (const pid of more) process.kill(pid, 'SIGKILL');
    for (const pid of more) await waitForEnd(pid);
    await runOk('umount', ['-l', place]);
    expect((await mount('c2')).status).toBe(0);
    const other = makePlace(scratch, 'other');
    expect((await helper.run(store.path, 'c1', other)).status).toBe(0);
    expect(readFileSync(join(place, 'data/file'), 'utf8')).toBe('from the template\n');
    await unmount('c1');
    await unmount('c2');
  });

  test('killed at any moment it leaves a root that is live, or nothing that the next one stumbles over', async () => {
    for (let round = 0; round < 12; round += 1) {
      const ended = await helper.run(store.path, 'c1', place, 'rw', { onStart: (child) => setTimeout(() => void child.kill('SIGKILL'), round / 2) });
      expect([0, null]).toContain(ended.status);
      // The engine that it started keeps the lock until its root is live.
      const next = await mount('c1', 'wait=30');
      if (next.status === 0) expect(next.stdout).toBe('');
      else expect(next.stderr).toMatch(/is mounted at .* already/);
      expect(readFileSync(join(place, 'data/file'), 'utf8')).toBe('from the template\n');
      await unmount('c1');
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === place)).toEqual([]);
    }
    expect((await store.info('c1')).stale).toBe(null);
  });

  test('of many at once one mounts, the others find it mounted; two containers do not wait for one another', async () => {
    const ended = await Promise.all(Array.from({ length: 6 }, () => mount('c1', 'wait=60')));
    expect(ended.map(({ status }) => status).sort()).toEqual([0, 32, 32, 32, 32, 32]);
    for (const { status, stderr } of ended) if (status !== 0) expect(stderr).toContain(`c1 is mounted at ${place} already`);
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === place)).toHaveLength(1);
    await unmount('c1');
    const other = makePlace(scratch, 'other');
    const both = await Promise.all([mount('c1'), helper.run(store.path, 'c2', other)]);
    expect(both.map(({ status }) => status)).toEqual([0, 0]);
    await unmount('c1');
    await unmount('c2');
  });
});

describe('as mount(8) finds it', () => {
  test('mount -t, by both names, from a folder with a file of that name; remount; umount', async () => {
    const cwd = scratch.makeFolder('cwd');
    mkdirSync(join(cwd, 'c1'));
    const ended = await helper.script(`
      cd '${cwd}'
      mount -t fuse.templatefs c1 '${place}' -o 'store=${store.path},nosuid'
      cat '${place}/data/file'
      grep -c '^c1 ${place} fuse.templatefs rw,nosuid' /proc/mounts
      mount -o remount,ro '${place}'
      grep -c '^c1 ${place} fuse.templatefs ro,nosuid' /proc/mounts
      mount -o remount,rw '${place}'
      umount '${place}'
      mount -t templatefs c1 '${place}' -o 'store=${store.path}'
      '${CLI}' --store '${store.path}' --json info c1 | grep '"state"'
      mount -t templatefs c1 '${place}' -o 'store=${store.path}' 2>/dev/null || echo "again: $?"
      umount '${place}'
      '${CLI}' --store '${store.path}' --json info c1 | grep '"state"'`);
    expect(ended.stderr).toBe('');
    expect(ended.stdout.split('\n').map((line) => line.trim())).toEqual(['from the template', '1', '1', '"state": "mounted",', 'again: 32', '"state": "stopped",', '']);
  });

  test('fstab: mount DIR, mount -a, mount -a once more', async () => {
    const fstab = scratch.path('fstab');
    const other = makePlace(scratch, 'other');
    writeFileSync(
      fstab,
      `c1 ${place} fuse.templatefs store=${store.path},nodev,nofail,x-systemd.requires-mounts-for=/var 0 0\n` +
        `c2 ${other} templatefs ro,store=${store.path},_netdev 0 0\n`,
    );
    const ended = await helper.script(`
      mount -T '${fstab}' '${place}'
      mount -a -T '${fstab}'
      mount -a -T '${fstab}'
      grep -c '^c1 ${place} fuse.templatefs rw,nodev' /proc/mounts
      grep -c '^c2 ${other} fuse.templatefs ro' /proc/mounts
      umount '${place}' '${other}'`);
    expect(ended).toMatchObject({ status: 0, stdout: '1\n1\n', stderr: '' });
  });

  test('a root in another mount namespace is mounted already, and not taken for a dead one', async () => {
    const done = scratch.path('done');
    const inside = helper.script(`
      mount -t templatefs c1 '${place}' -o 'store=${store.path}'
      touch '${done}'
      while [ -e '${done}' ]; do sleep 0.05; done
      cat '${place}/data/file'
      umount '${place}'`);
    while (!existsSync(done)) await sleep(10);
    const ended = await mount('c1');
    const info = await store.info('c1');
    const destroyed = await store.run(['destroy', 'c1']);
    await runOk('rm', [done]);
    expect(ended).toMatchObject({ status: 32, stderr: expect.stringContaining('is mounted at') as string });
    expect(info).toMatchObject({ state: 'mounted', root: place, stale: null });
    expect(destroyed.status, destroyed.stderr).toBe(11);
    expect(await inside).toMatchObject({ status: 0, stdout: 'from the template\n' });
  });

  test('the command line unmounts it there', async () => {
    const done = scratch.path('done');
    const inside = helper.script(`
      mount -t templatefs c1 '${place}' -o 'store=${store.path}'
      touch '${done}'
      while [ -e '${done}' ]; do sleep 0.05; done
      grep -c '${place}' /proc/mounts || umount '${place}' 2>/dev/null || true`);
    while (!existsSync(done)) await sleep(10);
    const ended = await store.run(['umount', 'c1']);
    await runOk('rm', [done]);
    expect(ended).toMatchObject({ status: 0, stdout: 'unmounted c1\n' });
    expect(await inside).toMatchObject({ stdout: '0\n' });
    expect((await store.info('c1')).state).toBe('stopped');
  });
});

describe('what comes with it', () => {
  test('engine mount-helper makes the links, makes them anew, refuses others’ files, and removes them', async () => {
    const folder = scratch.makeFolder('sbin');
    for (let times = 0; times < 2; times += 1) {
      expect(await store.json('engine', 'mount-helper', '--directory', folder)).toMatchObject({ links: [join(folder, 'mount.templatefs'), join(folder, 'mount.fuse.templatefs')] });
    }
    expect(readlinkSync(join(folder, 'mount.fuse.templatefs'))).toBe(ENGINE);
    expect(await runProgram(join(folder, 'mount.templatefs'), ['--help'])).toMatchObject({ status: 0, stdout: expect.stringContaining('store=DIR') as string });
    await store.ok('engine', 'mount-helper', '--directory', folder, '--remove');
    expect(readdirSync(folder)).toEqual([]);
    writeFileSync(join(folder, 'mount.templatefs'), 'somebody’s');
    await store.refuses(['engine', 'mount-helper', '--directory', folder], { status: 1, code: 'FAILED', message: /not a link/ });
    await store.refuses(['engine', 'mount-helper', '--directory', folder, '--remove'], { status: 1, code: 'FAILED', message: /not a link/ });
    expect(readFileSync(join(folder, 'mount.templatefs'), 'utf8')).toBe('somebody’s');
  });

  test('the systemd unit of the documentation is a valid one', async () => {
    const unit = /```ini\n([^]*?)```/.exec(readFileSync(join(PROJECT, 'docs/mount-helper.md'), 'utf8'))?.[1] ?? '';
    expect(unit).toContain('Type=fuse.templatefs');
    const file = join(scratch.makeFolder('units'), 'srv-c1.mount');
    writeFileSync(file, unit);
    const verified = await runProgram('systemd-analyze', ['verify', '--man=no', file], { env: { SYSTEMD_LOG_LEVEL: 'info' } });
    expect(verified, verified.stderr).toMatchObject({ status: 0 });
    expect(verified.stderr).not.toContain('srv-c1.mount');
  });
});
