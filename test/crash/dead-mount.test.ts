import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import { buildRoot, packTar } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const scratch = useScratch();
let archive = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
});

async function storeWith(...containers: string[]): Promise<TestStore> {
  const store = scratch.makeStore();
  await store.make(archive, ...containers);
  return store;
}

/** Kills holder and worker at once, as the OOM killer or an operator might. */
async function killEngine(store: TestStore, container: string): Promise<void> {
  const pids = ['holder', 'worker'].map((who) => Number(store.engineFile(container).get(who)));
  // Stopped first, so that the holder cannot start another worker in between.
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  const alive = (pid: number): boolean => existsSync(`/proc/${pid}/status`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  while (pids.some(alive)) await sleep(5);
}

describe('holder and worker killed', () => {
  test('the next commands say so, and mount brings the root back with all data', async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const agent = new Agent();
    await agent.put(join(root, 'data/synced'), 'written and synced');
    await agent.put(join(root, 'usr/lib/file'), 'copied up');
    await agent.call('unlink', join(root, 'data/other'));
    await agent.call('rename', join(root, 'data/folder'), join(root, 'srv/moved'));
    const inode = (await agent.stat(join(root, 'data/synced'))).ino;
    const fd = await agent.open(join(root, 'data/synced'));
    await agent.call('fsync', fd);
    await killEngine(store, 'c1');
    expect(await agent.errno('lstat', join(root, 'data/new'))).toBe('ENOTCONN');
    expect(await store.json('list')).toEqual([{ name: 'c1', ostemplate: 't', state: 'stopped', root: null, engineVersion: null }]);
    expect(await store.info('c1')).toMatchObject({ state: 'stopped', root: null, enginePid: null, stale: expect.stringContaining('gone') as string });
    // Commands that only read leave it; they work all the same.
    await store.ok('diff', 'c1');
    await store.ok('stats');
    await store.expectSound();

    const again = await store.run(['mount', 'c1']);
    expect(again).toMatchObject({ status: 0, stdout: `${root}\n` });
    expect(again.stderr).toMatch(/cleared away/);
    expect(await agent.get(join(root, 'data/synced'))).toBe('written and synced');
    expect(await agent.get(join(root, 'usr/lib/file'))).toBe('copied up');
    expect(await agent.errno('lstat', join(root, 'data/other'))).toBe('ENOENT');
    expect(await agent.get(join(root, 'srv/moved/deeper/deepest/leaf'))).toBe('leaf\n');
    expect((await agent.stat(join(root, 'data/synced'))).ino).toBe(inode);
    // Numbers given out before the crash are not given out again.
    await agent.put(join(root, 'data/after'), 'after');
    expect((await agent.stat(join(root, 'data/after'))).ino).toBeGreaterThan(inode);
    await agent.end();
    expect(await store.info('c1')).toMatchObject({ state: 'mounted', stale: null, engineRestarts: 0 });
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test.each([
    ['umount', ['umount', 'c1']],
    ['umount --force', ['umount', 'c1', '--force']],
    ['destroy', ['destroy', 'c1']],
    ['exec', ['exec', 'c1', '--', '/bin/cat', '/data/file']],
  ])('%s mends it too', async (_name, command) => {
    const store = await storeWith('c1');
    await store.mount('c1');
    await killEngine(store, 'c1');
    const ended = await store.run(command);
    expect(ended.status, ended.stderr).toBe(0);
    if (command[0] === 'exec') expect(ended.stdout).toBe('from the template\n');
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
    expect(existsSync(join(store.path, 'run/c1/engine'))).toBe(false);
  });

  test('all kinds of commands at once find it: those that read say so, one mounts, the others find it mounted', async () => {
    const store = await storeWith('c1', 'c2');
    const root = await store.mount('c1');
    const other = await store.mount('c2');
    await killEngine(store, 'c1');
    const commands = [['list'], ['info', 'c1'], ['stats'], ['mount', 'c1'], ['diff', 'c1'], ['mount', 'c1'], ['exec', 'c1', '--', '/bin/cat', '/data/file'], ['mount', 'c1'], ['info', 'c2'], ['verify']];
    const ended = await Promise.all(commands.map((command) => store.run(['--wait', '60', ...command])));
    for (const [index, { status, stderr }] of ended.entries()) expect(status, `${commands[index]?.join(' ')}: ${stderr}`).toBe(0);
    expect(readFileSync(join(root, 'data/file'), 'utf8')).toBe('from the template\n');
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === root)).toHaveLength(1);
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toHaveLength(4);
    // Who ends it and who mounts it at once agree on one of the two.
    await killEngine(store, 'c1');
    await Promise.all([store.ok('--wait', '60', 'umount', 'c1'), store.ok('--wait', '60', 'mount', 'c1'), store.ok('--wait', '60', 'umount', 'c1')]);
    await store.ok('umount', 'c1');
    await killEngine(store, 'c2');
    const [destroyed, mounted] = await Promise.all([store.run(['--wait', '60', 'destroy', 'c2', '--force']), store.run(['--wait', '60', 'mount', 'c2'])]);
    expect(destroyed.status, destroyed.stderr).toBe(0);
    expect([0, 10], mounted.stderr).toContain(mounted.status);
    expect(existsSync(other)).toBe(false);
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toEqual([]);
    await store.expectSound();
  });

  test('at a mount point of the user’s', async () => {
    const store = await storeWith('c1');
    const place = scratch.makeFolder('place');
    await store.mount('c1', place);
    await killEngine(store, 'c1');
    expect(await store.mount('c1')).toBe(join(store.path, 'root/c1'));
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === place)).toEqual([]);
    await store.ok('umount', 'c1');
    // The same place again, where the dead mount still is.
    await store.mount('c1', place);
    await killEngine(store, 'c1');
    expect(await store.mount('c1', place)).toBe(place);
    await store.ok('umount', 'c1');
    expect(existsSync(place)).toBe(true);
  });

  test('only the holder: the worker does not go on by itself, or serves on; and mount mends it', async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const worker = store.workerPid('c1');
    process.kill(Number(store.engineFile('c1').get('holder')), 'SIGKILL');
    await sleep(300);
    await store.mount('c1');
    const agent = new Agent();
    expect(await agent.get(join(root, 'data/file'))).toBe('from the template\n');
    await agent.put(join(root, 'data/new'), 'new');
    await agent.end();
    expect(store.workerPid('c1')).not.toBe(worker);
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toHaveLength(2);
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test('someone unmounted the root behind our back', async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const { runOk } = await import('../support/run-program.js');
    await runOk('umount', ['-l', root]);
    await sleep(200);
    await store.mount('c1');
    const agent = new Agent();
    expect(await agent.get(join(root, 'data/file'))).toBe('from the template\n');
    await agent.end();
    await store.ok('umount', 'c1');
  });
});

describe('what a reboot leaves', () => {
  test('state of another boot, a stale socket: mount clears it away and touches no process', async () => {
    const store = await storeWith('c1');
    const run = join(store.path, 'run/c1');
    mkdirSync(run, { recursive: true });
    // The pids are taken by others now: by this very process.
    writeFileSync(
      join(run, 'engine'),
      `holder ${process.pid}\nworker ${process.pid}\nmountpoint ${store.path}/root/c1\nboot 00000000-0000-4000-8000-000000000000\npassthrough yes\nconnection 1\n`,
    );
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(run, 'control'), resolve));
    // A socket whose listener is gone, as a crash leaves it: closing would remove the file, so a copy of the name is kept.
    const { linkSync, renameSync } = await import('node:fs');
    linkSync(join(run, 'control'), join(run, 'kept'));
    await new Promise((resolve) => server.close(resolve));
    renameSync(join(run, 'kept'), join(run, 'control'));

    expect(await store.info('c1')).toMatchObject({ state: 'stopped', stale: expect.stringContaining('restarted') as string });
    const root = await store.mount('c1');
    expect((await store.info('c1')).state).toBe('mounted');
    expect(readdirSync(root)).toContain('bin');
    await store.ok('umount', 'c1');
  });

  test.each([
    ['garbage', 'not an engine file at all\n'],
    ['nothing', ''],
    ['pids that are others’', `holder 1\nworker 1\nmountpoint /\nboot BOOT\npassthrough yes\n`],
  ])('an engine file with %s is no obstacle', async (_name, text) => {
    const store = await storeWith('c1');
    const run = join(store.path, 'run/c1');
    mkdirSync(run, { recursive: true });
    writeFileSync(join(run, 'engine'), text.replace('BOOT', readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()));
    await store.mount('c1');
    expect((await store.info('c1')).state).toBe('mounted');
    await store.ok('umount', 'c1');
  });

  test('half-made files in staging are removed, and unlinked inodes freed', async () => {
    const store = await storeWith('c1');
    const area = join(store.path, 'private/c1');
    writeFileSync(join(area, 'staging/half'), 'half made');
    mkdirSync(join(area, 'staging/folder'));
    const root = await store.mount('c1');
    const agent = new Agent();
    const fd = await agent.open(join(root, 'data/size-1000003'), 2);
    await agent.write(fd, 'x');
    await agent.call('unlink', join(root, 'data/size-1000003'));
    await killEngine(store, 'c1');
    await agent.end();
    await store.mount('c1');
    await store.ok('umount', 'c1');
    expect(readdirSync(join(area, 'staging'))).toEqual([]);
    expect(readdirSync(join(area, 'inodes'))).toEqual([]);
  });
});
