import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, hex, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../support/agent.js';
import { LoopVolume } from '../support/loop-volume.js';
import { PYTHON, supportFile } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const MIB = 1024 * 1024;
const BLOCK = 4096;
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;

interface Quota {
  readonly sizeBytes: number | null;
  readonly inodes: number | null;
  readonly usedBytes: number | null;
  readonly usedInodes: number | null;
  readonly enforcedBy: string;
}

interface FreeSpace {
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly frsize: number;
  readonly files: number;
  readonly ffree: number;
}

const scratch = useScratch();
const volumes: LoopVolume[] = [];
const agents: Agent[] = [];

/** A small template: each file has a size that the tests know. */
function makeTemplate(): string {
  const template = scratch.makeFolder('small-template');
  for (const folder of ['usr/lib', 'data', 'data/folder']) mkdirSync(join(template, folder), { recursive: true });
  writeFileSync(join(template, 'usr/lib/file'), Buffer.alloc(100_000, 'l'));
  writeFileSync(join(template, 'data/file'), Buffer.alloc(1_000_000, 'd'));
  writeFileSync(join(template, 'data/large'), Buffer.alloc(3 * MIB, 'L'));
  for (let number = 0; number < 20; number += 1) writeFileSync(join(template, `data/folder/f${number}`), `file ${number}\n`);
  return template;
}

function newAgent(): Agent {
  const agent = new Agent();
  agents.push(agent);
  return agent;
}

async function quota(store: TestStore, container: string, ...change: string[]): Promise<Quota> {
  return (await store.json('quota', container, ...change)) as Quota;
}

/** What the private area really takes: with du, and whiteouts left out of the inodes. */
async function counted(store: TestStore, container: string): Promise<{ bytes: number; inodes: number }> {
  const area = join(store.path, 'private', container);
  const lines = await runOk('find', [join(area, 'root'), join(area, 'inodes'), '-mindepth', '0', '-printf', '%i %b %y %p\n']);
  const seen = new Map<string, number>();
  for (const line of lines.trim().split('\n')) {
    const [inode = '', blocks = '', type = '', path = ''] = line.split(' ');
    if (path === join(area, 'inodes') || type === 'c') continue;
    seen.set(inode, Number(blocks) * 512);
  }
  return { bytes: [...seen.values()].reduce((sum, bytes) => sum + bytes, 0), inodes: seen.size };
}

/** What was counted step by step is what is there. */
async function expectExact(store: TestStore, container: string): Promise<Quota> {
  // Not the engine's own sync: what the host allocates late must be found by the question alone.
  await runOk('sync', ['-f', store.path]);
  const shown = await quota(store, container);
  expect({ bytes: shown.usedBytes, inodes: shown.usedInodes }).toEqual(await counted(store, container));
  return shown;
}

async function freeSpace(agent: Agent, path: string): Promise<FreeSpace> {
  return (await agent.call('statvfs', path)) as FreeSpace;
}

/** Writes until nothing fits any more. @returns the size, and the errno of the end */
async function fill(agent: Agent, path: string, piece: number): Promise<{ written: number; errno: string }> {
  const errno = (await agent.call('fill', path, piece)) as string;
  return { written: (await agent.stat(path)).size, errno };
}

/** XFS may have needed a block for the map of a file's extents that it gives back when it has written them. */
function expectFull(quota: Quota, limit: number, kind: string): void {
  expect(quota.usedBytes).toBeLessThanOrEqual(limit);
  expect(quota.usedBytes).toBeGreaterThanOrEqual(kind === 'xfs' ? limit - BLOCK : limit);
}

afterAll(async () => {
  for (const agent of agents) await agent.end();
  // Stores are unmounted by the scratch, which knows nothing of volumes: so here, first.
  for (const store of stores) await store.unmountAll();
  for (const volume of volumes) await volume.remove();
});
const stores: TestStore[] = [];

async function storeOn(kind: 'ext4' | 'xfs' | 'btrfs'): Promise<TestStore> {
  const volume = await LoopVolume.make(scratch, kind, 600 * MIB);
  volumes.push(volume);
  const store = scratch.makeStore(join(volume.path, 'store'));
  stores.push(store);
  await store.ok('template', 'import', 't', makeTemplate());
  return store;
}

describe.each(['ext4', 'xfs'] as const)('limits that the engine keeps on %s', (kind) => {
  let store: TestStore;
  const agent = newAgent();
  let count = 0;

  beforeAll(async () => {
    store = await storeOn(kind);
  });

  /** A mounted container of its own. */
  async function container(...options: string[]): Promise<{ name: string; root: string }> {
    const name = `c${++count}`;
    await store.ok('create', name, '--ostemplate', 't', ...options);
    return { name, root: await store.mount(name) };
  }

  test('one write stops exactly at the limit, and deleting makes room', async () => {
    const { name, root } = await container('--quota-size', '4M');
    const before = await freeSpace(agent, root);
    expect(before.blocks * before.frsize).toBe(4 * MIB);
    const fd = await agent.open(join(root, 'new'), O_RDWR | O_CREAT);
    const written = Number(await agent.call('pwrite', fd, hex('x'.repeat(5 * MIB)), 0));
    expect(written % BLOCK).toBe(0);
    const full = await expectExact(store, name);
    expect(full).toMatchObject({ sizeBytes: 4 * MIB, usedBytes: 4 * MIB, enforcedBy: 'engine' });
    expect((await agent.stat(fd)).size).toBe(written);
    expect(await agent.errno('pwrite', fd, hex('y'), written)).toBe('EDQUOT');
    expect(await agent.errno('pwrite', fd, hex('z'.repeat(MIB)), 0), 'what is allocated can be overwritten').toBe('OK');
    expect(await agent.errno('pwrite', fd, hex('z'.repeat(2 * BLOCK)), written - BLOCK), 'the part that fits is written').toBe('OK');
    expect((await agent.stat(fd)).size).toBe(written);
    expect(await agent.errno('open', join(root, 'more'), O_WRONLY | O_CREAT)).toBe('EDQUOT');
    expect(await agent.errno('mkdir', join(root, 'more'))).toBe('EDQUOT');
    expect(await agent.errno('open', join(root, 'data/file'), O_RDWR), 'copying content up').toBe('EDQUOT');
    expect(await agent.errno('setxattr', join(root, 'new'), 'user.x', hex('y'.repeat(900)))).toBe('EDQUOT');
    expect(await freeSpace(agent, root)).toMatchObject({ bfree: 0, bavail: 0 });
    expect(await agent.errno('unlink', join(root, 'data/folder/f1')), 'a file of the template').toBe('OK');
    expect(await agent.errno('rename', join(root, 'new'), join(root, 'renamed'))).toBe('OK');
    await agent.call('ftruncate', fd, MIB);
    const after = await expectExact(store, name);
    expect(after.usedBytes).toBeLessThan(2 * MIB);
    expect(await agent.errno('pwrite', fd, hex('y'.repeat(MIB)), MIB)).toBe('OK');
    await agent.close(fd);
    await store.ok('umount', name);
  });

  test.each([1000, 4096, 70_000])('pieces of %i bytes fill it to the last block', async (piece) => {
    const { name, root } = await container('--quota-size', '3M');
    await agent.put(join(root, 'first'), 'x');
    const { errno } = await fill(agent, join(root, 'filled'), piece);
    expect(errno).toBe('EDQUOT');
    expectFull(await expectExact(store, name), 3 * MIB, kind);
    await store.ok('umount', name);
  });

  test('holes, preallocation and truncation count what they allocate', async () => {
    const { name, root } = await container('--quota-size', '4M');
    const fd = await agent.open(join(root, 'sparse'), O_RDWR | O_CREAT);
    expect(await agent.errno('ftruncate', fd, 1024 * MIB), 'a hole takes nothing').toBe('OK');
    expect(await agent.errno('pwrite', fd, hex('x'.repeat(BLOCK)), 512 * MIB)).toBe('OK');
    expect((await expectExact(store, name)).usedBytes).toBeLessThan(MIB);
    expect(await agent.errno('fallocate', fd, KEEP_SIZE, 0, 5 * MIB)).toBe('EDQUOT');
    expect((await expectExact(store, name)).usedBytes, 'all of it or nothing').toBeLessThan(MIB);
    expect(await agent.errno('fallocate', fd, KEEP_SIZE, 0, 3 * MIB)).toBe('OK');
    expect(await fill(agent, join(root, 'rest'), 100_000)).toMatchObject({ errno: 'EDQUOT' });
    expect(await agent.errno('pwrite', fd, hex('x'.repeat(2 * MIB)), 0), 'into what is preallocated').toBe('OK');
    expect(await agent.errno('pwrite', fd, hex('x'), 100 * MIB), 'into a hole').toBe('EDQUOT');
    expectFull(await expectExact(store, name), 4 * MIB, kind);
    expect(await agent.errno('fallocate', fd, KEEP_SIZE | PUNCH_HOLE, 0, 3 * MIB)).toBe('OK');
    expect((await expectExact(store, name)).usedBytes).toBeLessThanOrEqual(MIB);
    await agent.close(fd);
    await store.ok('umount', name);
  });

  test('a mapping that goes beyond the limit: msync and fsync say so', async () => {
    const { name, root } = await container('--quota-size', '1M');
    const fd = await agent.open(join(root, 'mapped'), O_RDWR | O_CREAT);
    await agent.call('ftruncate', fd, 2 * MIB);
    const map = await agent.map(fd, 2 * MIB, true);
    expect(await agent.errno('mapwrite', map, 0, hex('m'.repeat(2 * MIB)))).toBe('EDQUOT');
    expect((await expectExact(store, name)).usedBytes).toBeLessThanOrEqual(MIB);
    await agent.close(fd);
    const reopened = newAgent();
    expect(await reopened.read(await reopened.open(join(root, 'mapped')), 10)).toBe('mmmmmmmmmm');
    await reopened.end();
  });

  test('hard links count once, unlinked files until they are closed, copies up with their content', async () => {
    const { name, root } = await container('--quota-size', '8M', '--quota-inodes', '100');
    await agent.put(join(root, 'one'), 'x'.repeat(300_000));
    const single = await expectExact(store, name);
    await agent.call('link', join(root, 'one'), join(root, 'two'));
    expect((await expectExact(store, name)).usedInodes).toBe(single.usedInodes);
    const held = await agent.open(join(root, 'one'), O_RDWR);
    await agent.call('unlink', join(root, 'one'));
    await agent.call('unlink', join(root, 'two'));
    expect((await expectExact(store, name)).usedInodes, 'it is still open').toBe(single.usedInodes);
    await agent.write(held, 'x'.repeat(500_000));
    await expectExact(store, name);
    await agent.close(held);
    // The release comes after the close.
    await expect.poll(async () => (await quota(store, name)).usedInodes).toBe((single.usedInodes ?? 0) - 1);
    const without = await expectExact(store, name);
    await agent.call('chmod', join(root, 'usr/lib/file'), 0o600);
    const link = await expectExact(store, name);
    expect((link.usedBytes ?? 0) - (without.usedBytes ?? 0), 'metadata alone copies no content').toBeLessThan(50_000);
    const reader = await agent.open(join(root, 'usr/lib/file'), O_RDONLY);
    const writer = await agent.open(join(root, 'usr/lib/file'), O_RDWR);
    expect(((await expectExact(store, name)).usedBytes ?? 0) - (link.usedBytes ?? 0)).toBeGreaterThanOrEqual(100_000);
    await agent.write(writer, 'own');
    await agent.close(reader);
    await agent.close(writer);
    await expectExact(store, name);
    await store.ok('umount', name);
  });

  test('a file that is copied up block by block takes what is written', async () => {
    const { name, root } = await container('--quota-size', '2M');
    const fd = await agent.open(join(root, 'data/large'), O_RDWR);
    await agent.write(fd, 'own', 1_000_000);
    expect((await expectExact(store, name)).usedBytes).toBeLessThan(MIB);
    const written = Number(await agent.call('pwrite', fd, hex('w'.repeat(3 * MIB)), 0));
    expect(written % BLOCK).toBe(0);
    expectFull(await expectExact(store, name), 2 * MIB, kind);
    expect(await agent.errno('pwrite', fd, hex('x'), written)).toBe('EDQUOT');
    expect(await agent.read(fd, 4, written - 2)).toBe('wwLL');
    expect(await agent.errno('fallocate', fd, KEEP_SIZE | PUNCH_HOLE, written, 2 * BLOCK), 'zeros take space here').toBe('EDQUOT');
    await agent.call('ftruncate', fd, MIB);
    expect((await expectExact(store, name)).usedBytes).toBeLessThanOrEqual(MIB + 8 * BLOCK);
    await agent.close(fd);
    await store.ok('umount', name);
  });

  test('inodes: the last one, and what needs none', async () => {
    const { name, root } = await container('--quota-inodes', '10');
    expect(await store.info(name)).toMatchObject({ passthrough: true });
    let made = 0;
    while ((await agent.errno('mknod', join(root, `n${made}`))) === 'OK') made += 1;
    expect(made, 'one is the root itself').toBe(9);
    expect(await freeSpace(agent, root)).toMatchObject({ files: 10, ffree: 0 });
    for (const [call, ...args] of [['mkdir', 'd'], ['symlink', 'd']] as const) {
      expect(await agent.errno(call, ...(call === 'symlink' ? ['target'] : []), join(root, args[0])), call).toBe('EDQUOT');
    }
    expect(await agent.errno('chmod', join(root, 'usr/lib/file'), 0o600), 'a copy of the entry').toBe('EDQUOT');
    expect(await agent.errno('link', join(root, 'n0'), join(root, 'linked'))).toBe('OK');
    await agent.put(join(root, 'n1'), 'content needs no inode');
    expect(await agent.errno('unlink', join(root, 'data/folder/f3')), 'deleting').toBe('OK');
    await agent.call('unlink', join(root, 'n2'));
    await agent.call('unlink', join(root, 'n3'));
    await agent.call('unlink', join(root, 'n4'));
    expect(await agent.errno('mkdir', join(root, 'd'))).toBe('OK');
    expect((await quota(store, name)).usedInodes).toBe((await counted(store, name)).inodes);
    await store.ok('umount', name);
  });

  test('limits change while the root is in use, and stay', async () => {
    const { name, root } = await container('--quota-size', '2M');
    expect(await fill(agent, join(root, 'file'), 50_000)).toMatchObject({ errno: 'EDQUOT' });
    expect(await quota(store, name, '--size', '3M')).toMatchObject({ sizeBytes: 3 * MIB, inodes: null });
    expect(await agent.errno('truncate', join(root, 'file'), 2 * MIB)).toBe('OK');
    const fd = await agent.open(join(root, 'more'), O_RDWR | O_CREAT);
    expect(await agent.errno('pwrite', fd, hex('x'.repeat(500_000)), 0)).toBe('OK');
    expect(await quota(store, name, '--size', '1M', '--inodes', '7')).toMatchObject({ sizeBytes: MIB, inodes: 7 });
    expect(await agent.errno('pwrite', fd, hex('x'), 600_000), 'more is used already').toBe('EDQUOT');
    expect(await agent.errno('pwrite', fd, hex('x'), 0)).toBe('OK');
    expect(await freeSpace(agent, root)).toMatchObject({ bfree: 0 });
    await agent.close(fd);
    await store.ok('umount', name);
    expect(await quota(store, name)).toMatchObject({ sizeBytes: MIB, inodes: 7, enforcedBy: 'engine' });
    await store.ok('quota', name, '--size', 'none');
    await store.mount(name);
    expect(await quota(store, name)).toMatchObject({ sizeBytes: null, inodes: 7 });
    expect(await agent.errno('truncate', join(root, 'file'), 0)).toBe('OK');
    await agent.put(join(root, 'file'), 'x'.repeat(3 * MIB));
    await store.ok('umount', name);
  });

  test('a limit in bytes for a container that is in use without one', async () => {
    const { name, root } = await container();
    const fd = await agent.open(join(root, 'passed by'), O_RDWR | O_CREAT);
    await agent.write(fd, 'x'.repeat(100_000));
    await store.refuses(['quota', name, '--size', '2M'], { status: 11, code: 'BUSY', message: /bypass/ });
    expect(await quota(store, name)).toMatchObject({ sizeBytes: null });
    await agent.close(fd);
    // The release comes after the close.
    await expect.poll(async () => (await store.run(['quota', name, '--size', '2M'])).status).toBe(0);
    expect((await expectExact(store, name)).usedBytes).toBeGreaterThanOrEqual(100_000);
    expect(await agent.get(join(root, 'passed by'))).toBe('x'.repeat(100_000));
    expect(await fill(agent, join(root, 'new'), 60_000)).toMatchObject({ errno: 'EDQUOT' });
    expectFull(await expectExact(store, name), 2 * MIB, kind);
    await store.ok('umount', name);
  });

  test('killed workers lose no count', { timeout: 240_000 }, async () => {
    await store.ok('template', 'import', 'big', await buildRoot(scratch.path('template')));
    const name = `c${++count}`;
    await store.ok('create', name, '--ostemplate', 'big', '--quota-size', '200M', '--quota-inodes', '100000');
    const root = await store.mount(name);
    const load = spawn(PYTHON, [supportFile('load.py'), root], { stdio: 'pipe' });
    let output = '';
    load.stdout.on('data', (text: Buffer) => (output += text.toString()));
    load.stderr.on('data', (text: Buffer) => (output += text.toString()));
    const ended = new Promise((resolve) => load.once('close', resolve));
    try {
      await expect.poll(() => output, { timeout: 20_000 }).toBe('ready\n');
      for (let kill = 0; kill < 25; kill += 1) {
        await sleep(Math.random() * 120);
        await store.killWorker(name);
      }
      load.stdin.end();
      await ended;
      expect(JSON.parse(output.trim().split('\n').at(-1) ?? '')).toMatchObject({ errors: [], wrong: [] });
    } finally {
      load.kill('SIGKILL');
    }
    await expectExact(store, name);
    expect((await store.info(name)).engineRestarts).toBe(25);
    await store.ok('umount', name);
  });

  test('a clean stop is trusted, a crash is not', async () => {
    const { name, root } = await container('--quota-size', '4M');
    await agent.put(join(root, 'file'), 'x'.repeat(200_000));
    await store.ok('umount', name);
    const written = join(store.path, 'private', name, 'usage');
    const { bytes, inodes } = await counted(store, name);
    expect(readFileSync(written, 'utf8')).toBe(`templatefs-usage 1\ninodes ${inodes}\nbytes ${bytes}\n`);
    // Told something else, the next engine believes it: so it has not looked.
    writeFileSync(written, `templatefs-usage 1\ninodes ${inodes}\nbytes ${bytes + BLOCK}\n`);
    await store.mount(name);
    expect((await quota(store, name)).usedBytes).toBe(bytes + BLOCK);
    expect(existsSync(written)).toBe(false);
    await agent.put(join(root, 'file2'), 'x'.repeat(200_000));
    const pids = [Number(store.engineFile(name).get('holder')), store.workerPid(name)];
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await expect.poll(async () => (await store.info(name)).state).toBe('stopped');
    await store.mount(name);
    await expectExact(store, name);
    await store.ok('umount', name);
  });
});

describe('limits that btrfs keeps', () => {
  let store: TestStore;
  const agent = newAgent();

  beforeAll(async () => {
    store = await storeOn('btrfs');
    await runOk('btrfs', ['quota', 'enable', volumes.at(-1)?.path ?? '']);
  });

  test('a private area is a subvolume with its own qgroup, and passthrough stays', async () => {
    await store.ok('create', 'c1', '--ostemplate', 't', '--quota-size', '8M', '--quota-inodes', '20');
    const root = await store.mount('c1');
    expect(await store.info('c1')).toMatchObject({ passthrough: true, quota: { sizeBytes: 8 * MIB, enforcedBy: 'btrfs' } });
    const space = await freeSpace(agent, root);
    expect(space.blocks * space.frsize).toBe(8 * MIB);
    expect(space).toMatchObject({ files: 20, ffree: 19 });
    expect(await fill(agent, join(root, 'file'), 300_000)).toMatchObject({ errno: 'EDQUOT' });
    const status = await agent.stat(join(root, 'file'));
    expect(status.size).toBeGreaterThan(7 * MIB);
    expect(status.size).toBeLessThanOrEqual(8 * MIB);
    expect(await agent.errno('unlink', join(root, 'data/folder/f1')), 'a file of the template, at the limit').toBe('OK');
    await runOk('sync', ['-f', store.path]);
    expect((await freeSpace(agent, root)).bfree * space.frsize).toBeLessThan(MIB);
    expect((await quota(store, 'c1', '--size', '12M')).sizeBytes).toBe(12 * MIB);
    expect((await quota(store, 'c1', '--inodes', '30')).inodes).toBe(30);
    expect(await fill(agent, join(root, 'more'), 300_000)).toMatchObject({ errno: 'EDQUOT' });
    expect((await agent.stat(join(root, 'more'))).size).toBeGreaterThan(3 * MIB);
    // Below what is used: the settings, which lie in the subvolume, are written all the same.
    expect((await quota(store, 'c1', '--size', '1M')).sizeBytes).toBe(MIB);
    expect((await quota(store, 'c1', '--inodes', '31')).inodes).toBe(31);
    await agent.call('unlink', join(root, 'file'));
    await agent.call('unlink', join(root, 'more'));
    await store.ok('umount', 'c1');
    expect(await quota(store, 'c1')).toMatchObject({ sizeBytes: MIB, inodes: 31, enforcedBy: 'btrfs' });
    await store.ok('destroy', 'c1');
    expect(await runOk('btrfs', ['subvolume', 'list', volumes.at(-1)?.path ?? ''])).toBe('');
    await store.expectSound();
  });
});
