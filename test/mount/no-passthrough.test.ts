import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } from '../support/agent.js';
import { buildRoot, compareTrees } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const scratch = useScratch();
const store = scratch.makeStore();
const agent = new Agent();
let template = '';
let root = '';

beforeAll(async () => {
  template = await buildRoot(scratch.path('template'));
  await store.make(template, 'c1');
  root = await store.mountEngine('c1', '--no-passthrough');
});
afterAll(() => agent.end());

describe('an engine without passthrough', () => {
  test('says so, and why', async () => {
    expect(store.engineFile('c1').get('passthrough')).toMatch(/^no: \S/);
    expect(await store.info('c1')).toMatchObject({ state: 'mounted', passthrough: false, passthroughReason: expect.stringMatching(/\S/) as string });
    expect(await store.ok('info', 'c1')).toMatch(/passthrough/i);
  });

  test('shows what was imported', async () => {
    expect((await compareTrees(template, root)).differences).toBe('');
  });

  test.each(['usr/lib', 'data'])('reads, writes, appends and truncates in %s', async (top) => {
    const path = join(root, top, 'file');
    expect(await agent.get(path)).toBe('from the template\n');
    const fd = await agent.open(path, O_RDWR);
    await agent.write(fd, 'FROM', 0);
    expect(await agent.read(fd)).toBe('FROM the template\n');
    await agent.put(path, 'appended\n', O_WRONLY | O_APPEND);
    expect(await agent.get(path)).toBe('FROM the template\nappended\n');
    await agent.call('ftruncate', fd, 4);
    expect(await agent.get(path)).toBe('FROM');
    expect((await agent.stat(path)).size).toBe(4);
    await agent.write(fd, 'far', 100_000);
    expect((await agent.stat(fd)).size).toBe(100_003);
    await agent.call('fsync', fd);
    await agent.close(fd);
  });

  test.each(['usr/lib', 'data'])('mmap in %s', async (top) => {
    const fd = await agent.open(join(root, top, 'size-65536'), O_RDWR);
    const map = await agent.map(fd, 65_536, true);
    await agent.mapWrite(map, 'through the mapping', 10_000);
    expect(await agent.read(fd, 19, 10_000)).toBe('through the mapping');
    const reader = await agent.open(join(root, top, 'size-65536'), O_RDONLY);
    expect(await agent.mapRead(await agent.map(reader, 65_536), 19, 10_000)).toBe('through the mapping');
  });

  test('what was written is there after a remount with passthrough, and the other way round', async () => {
    await agent.put(join(root, 'data/new'), 'made without\n');
    const more = new Agent();
    await agent.end();
    await store.ok('umount', 'c1');
    await store.mount('c1');
    expect((await store.info('c1')).passthrough).toBe(true);
    expect(await more.get(join(root, 'data/new'))).toBe('made without\n');
    expect(await more.read(await more.open(join(root, 'usr/lib/size-65536')), 19, 10_000)).toBe('through the mapping');
    await more.put(join(root, 'usr/lib/with'), 'made with\n', O_CREAT | O_RDWR);
    await more.end();
    await store.ok('umount', 'c1');
    await store.mount('c1', '--no-passthrough');
    const last = new Agent();
    expect(await last.get(join(root, 'usr/lib/with'))).toBe('made with\n');
    await last.end();
    await store.ok('umount', 'c1');
    await store.expectSound();
  });
});
