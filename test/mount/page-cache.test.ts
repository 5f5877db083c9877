import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import { ENGINE } from '../support/project.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

const FILE_BYTES = 500 * 1000 * 1000;
const PAGE_BYTES = 4096;
const ALL_PAGES = Math.ceil(FILE_BYTES / PAGE_BYTES) * PAGE_BYTES;
const FILE = 'usr/lib/large';

/*
 * What is asserted is what the kernel says of each file's own pages (cachestat(2)): of the object, and of the inodes of
 * the roots, whose pages would be copies. Sums like `Cached` of /proc/meminfo also count what other programs do.
 */
const scratch = useScratch();
const store = scratch.makeStore();
const agent = new Agent();
let object = '';

beforeAll(async () => {
  const folder = scratch.makeFolder('template');
  mkdirSync(join(folder, 'usr/lib'), { recursive: true });
  await runOk('sh', ['-c', 'head -c "$1" /dev/urandom > "$2"', 'sh', String(FILE_BYTES), join(folder, FILE)]);
  await store.make(folder, 'c1', 'c2', 'c3');
  rmSync(folder, { recursive: true });
  const objects = [...store.sharedFiles().keys()].filter((path) => path.startsWith('objects/'));
  expect(objects).toHaveLength(1);
  object = join(store.path, objects[0] ?? '');
});
afterAll(() => agent.end());

async function resident(): Promise<number> {
  return Number(await runOk(ENGINE, ['resident'], { input: `${object}\0` }));
}

/** The kernel may have taken pages back already: that is its right. */
function expectOnce(bytes: number | undefined): void {
  expect(bytes).toBeGreaterThan(ALL_PAGES * 0.5);
  expect(bytes).toBeLessThanOrEqual(ALL_PAGES);
}

test('two containers that read the same 500 MB file cost the page cache once', async () => {
  const roots = [await store.mount('c1'), await store.mount('c2')];
  await agent.call('evict', object);
  expect(await resident()).toBeLessThan(FILE_BYTES * 0.02);

  const fds: number[] = [];
  for (const root of roots) {
    const fd = await agent.open(join(root, FILE));
    fds.push(fd);
    expect(await agent.call('readall', fd)).toBe(FILE_BYTES);
    expectOnce(await resident());
  }
  // The roots' own inodes hold no page: all bytes were read, and all pages there are belong to the object.
  for (const fd of fds) expect(await agent.call('cached', fd)).toBeLessThanOrEqual(PAGE_BYTES);

  // The same by mmap, which maps the object's own pages.
  for (const fd of fds) {
    const map = await agent.map(fd, FILE_BYTES);
    await agent.mapRead(map, 10, FILE_BYTES - 10);
    expect(await agent.call('cached', fd)).toBeLessThanOrEqual(PAGE_BYTES);
  }

  const { memory } = (await store.json('stats')) as { memory: Record<string, number> };
  expectOnce(memory['residentBytes']);
  expect(memory['withoutSharingBytes']).toBe(2 * Number(memory['residentBytes']));
  expect(memory['savedBytes']).toBe(memory['residentBytes']);
});

test('without passthrough there would be a copy for each root: the measure sees it', async () => {
  const root = await store.mount('c3', '--no-passthrough');
  const fd = await agent.open(join(root, FILE));
  expect(await agent.call('readall', fd)).toBe(FILE_BYTES);
  expect(await agent.call('cached', fd)).toBeGreaterThan(FILE_BYTES * 0.2);
});
