import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, O_RDONLY, O_RDWR } from '../support/agent.js';
import { buildRoot } from '../support/roots.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/* A root behaves to mount(8), umount(8) and /proc/mounts as a local file system does. */

const scratch = useScratch();
const store = scratch.makeStore();
let count = 0;
let name = '';
let agent = new Agent();

beforeAll(async () => {
  await agent.end();
  await store.make(await buildRoot(scratch.path('template')));
});
beforeEach(async () => {
  name = `c${++count}`;
  await store.ok('create', name, '--ostemplate', 't');
  agent = new Agent();
});
afterEach(async () => {
  await agent.end();
  await store.run(['destroy', name, '--force']);
});

/** Fields of /proc/mounts: source, mount point, type, options. */
function mountLine(root: string): { source: string; type: string; options: string[] } | undefined {
  const lines = readFileSync('/proc/mounts', 'utf8').split('\n').map((line) => line.split(' '));
  const found = lines.findLast(([, mountpoint]) => mountpoint === root);
  return found && { source: found[0] ?? '', type: found[2] ?? '', options: (found[3] ?? '').split(',') };
}

async function waitForEngine(pid: number): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    if (performance.now() > deadline) throw new Error(`the engine ${pid} has not ended`);
    await sleep(10);
  }
}

describe('mounting', () => {
  test('the root is live when the command returns; stderr says nothing; /proc/mounts names container and type', async () => {
    const ended = await store.run(['mount', name]);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const root = ended.stdout.trimEnd();
    expect(await agent.get(join(root, 'usr/lib/file'))).toBe('from the template\n');
    expect(mountLine(root)).toMatchObject({ source: name, type: 'fuse.templatefs' });
    expect(mountLine(root)?.options).toEqual(expect.arrayContaining(['rw', 'relatime', 'allow_other', 'default_permissions']));
  });

  test.each([
    ['ro,nosuid,nodev,noexec', ['ro', 'nosuid', 'nodev', 'noexec', 'relatime'], 'EROFS'],
    ['noatime,nodiratime,nosymfollow', ['rw', 'noatime', 'nodiratime', 'nosymfollow'], 'OK'],
    ['defaults,fsname=some/where,sync', ['rw', 'sync', 'relatime'], 'OK'],
    ['ro,rw,nosuid,suid,strictatime', ['rw'], 'OK'],
  ])('-o %s', async (list, wanted, write) => {
    const root = await store.mount(name, '-o', list);
    const line = mountLine(root);
    expect(line?.options).toEqual(expect.arrayContaining(wanted));
    if (!wanted.includes('nosuid')) expect(line?.options).not.toContain('nosuid');
    expect(line?.source).toBe(list.includes('fsname') ? 'some/where' : name);
    expect(await agent.errno('mkdir', join(root, 'made'))).toBe(write);
    if (wanted.includes('noexec')) expect(await agent.errno('execv', join(root, 'bin/busybox'), ['true'])).toBe('EACCES');
    if (wanted.includes('nodev')) expect(await agent.errno('open', join(root, 'dev/null'), O_RDONLY)).toBe('EACCES');
    if (wanted.includes('nosymfollow')) expect(await agent.errno('open', join(root, 'data/symlink'), O_RDONLY)).toBe('ELOOP');
    expect(await store.json('info', name)).toMatchObject({ state: 'mounted', root });
  });

  test('unknown options are refused, and nothing is mounted', async () => {
    await store.refuses(['mount', name, '-o', 'ro,barrier=0'], { status: 2, code: 'USAGE', message: /barrier=0/ });
    expect((await store.info(name)).state).toBe('stopped');
  });

  test('options for a root that is mounted already are refused, not ignored', async () => {
    await store.mount(name);
    await store.refuses(['mount', name, '-o', 'ro'], { status: 11, code: 'BUSY', message: /mounted/ });
  });
});

describe('remounting', () => {
  test('read-only and back, for the file system and its attributes, as for ext4', async () => {
    const root = await store.mount(name);
    const fd = await agent.open(join(root, 'data/file'), O_RDWR);
    // What is open for writing keeps the file system from becoming read-only.
    expect((await runProgram('mount', ['-i', '-o', 'remount,ro', root])).status).not.toBe(0);
    await agent.close(fd);
    // -i: mount.fuse of libfuse, where it is installed, knows nothing of remounting.
    expect(await runProgram('mount', ['-i', '-o', 'remount,ro', root])).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(mountLine(root)?.options).toContain('ro');
    expect(await agent.errno('open', join(root, 'data/file'), O_RDWR)).toBe('EROFS');
    expect(await agent.errno('mkdir', join(root, 'made'))).toBe('EROFS');
    expect(await agent.get(join(root, 'data/file'))).toBe('from the template\n');
    await runOk('mount', ['-i', '-o', 'remount,rw,nosuid,noatime', root]);
    expect(mountLine(root)?.options).toEqual(expect.arrayContaining(['rw', 'nosuid', 'noatime']));
    expect(await agent.errno('mkdir', join(root, 'made'))).toBe('OK');
    expect((await store.info(name)).engineRestarts).toBe(0);
  });
});

describe('unmounting by umount(8)', () => {
  test('is silent, ends the engine, and leaves nothing to clear away', async () => {
    const root = await store.mount(name);
    await agent.put(join(root, 'data/made'), 'kept');
    const holder = Number(store.engineFile(name).get('holder'));
    expect(await runProgram('umount', [root])).toMatchObject({ status: 0, stdout: '', stderr: '' });
    await waitForEngine(holder);
    expect(mountLine(root)).toBeUndefined();
    expect(await store.info(name)).toMatchObject({ state: 'stopped', stale: null });
    expect(await agent.get(join(await store.mount(name), 'data/made'))).toBe('kept');
  });

  test('a root that is in use is busy; -l takes it away when its last user is gone', async () => {
    const root = await store.mount(name);
    const holder = Number(store.engineFile(name).get('holder'));
    const fd = await agent.open(join(root, 'data/file'), O_RDWR);
    expect((await runProgram('umount', [root])).status).not.toBe(0);
    await runOk('umount', ['-l', root]);
    await agent.write(fd, 'FROM');
    expect(await agent.read(fd)).toBe('FROM the template\n');
    await agent.close(fd);
    await waitForEngine(holder);
    expect(await agent.get(join(await store.mount(name), 'data/file'))).toBe('FROM the template\n');
  });
});
