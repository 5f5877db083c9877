import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { expectNothingHalfDone, runKilled } from '../support/killed-commands.js';
import { buildRoot, compareTrees, packTar } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/** How often each command is killed. */
const ROUNDS = 6;

const scratch = useScratch();
let archive = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
});

/** A store with a stopped container that has written, removed and moved, and what its root shows. */
async function storeWithChanges(): Promise<{ store: TestStore; shown: string }> {
  const store = scratch.makeStore();
  await store.make(archive, 'c1');
  const root = await store.mount('c1');
  mkdirSync(join(root, 'srv/data'), { recursive: true });
  for (let file = 0; file < 200; file += 1) writeFileSync(join(root, 'srv/data', `file${file}`), `content ${file}\n`.repeat(file * 10));
  writeFileSync(join(root, 'srv/large'), Buffer.alloc(24 << 20, 'large'));
  const shown = scratch.makeFolder('shown');
  await runOk('cp', ['-a', `${root}/.`, shown]);
  await store.ok('umount', 'c1');
  return { store, shown };
}

async function expectRoot(store: TestStore, container: string, shown: string): Promise<void> {
  const root = await store.mount(container, '--wait', '10');
  expect((await compareTrees(shown, root)).differences).toBe('');
  await store.ok('umount', container, '--wait', '10');
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

describe('images and backups: a command that is killed leaves nothing that the next one does not mend', () => {
  test('commit', { timeout: 240_000 }, async () => {
    const { store, shown } = await storeWithChanges();
    const tookMs = await timed(() => store.ok('commit', 'c1', 'first'));
    for (let round = 0; round < ROUNDS; round += 1) {
      const ended = await runKilled(store, ['commit', 'c1', `t${round}`], tookMs);
      const names = ((await store.json('template', 'list')) as { name: string }[]).map(({ name }) => name);
      if (ended.status === 0) expect(names).toContain(`t${round}`);
    }
    await store.ok('commit', 'c1', 'last');
    const templates = (await store.json('template', 'list')) as { name: string; tree: string }[];
    expect(new Set(templates.filter(({ name }) => name !== 't').map(({ tree }) => tree)).size).toBe(1);
    expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
    await store.ok('create', 'c2', '--ostemplate', 'last');
    await expectRoot(store, 'c2', shown);
    await expectRoot(store, 'c1', shown);
    await expectNothingHalfDone(store, ['c1', 'c2']);
  });

  test('backup: the file is there whole or not at all, and nothing beside it', { timeout: 240_000 }, async () => {
    const { store } = await storeWithChanges();
    const whole = join(scratch.makeFolder('reference'), 'c1.backup');
    const tookMs = await timed(() => store.ok('backup', 'c1', whole));
    const folder = scratch.makeFolder('backups');
    const file = join(folder, 'c1.backup');
    for (let round = 0; round < ROUNDS; round += 1) {
      const ended = await runKilled(store, ['backup', 'c1', file], tookMs);
      if (ended.status === 0) expect(existsSync(file)).toBe(true);
      if (existsSync(file)) expect(readFileSync(file).equals(readFileSync(whole))).toBe(true);
    }
    await store.ok('backup', 'c1', file);
    expect(readFileSync(file).equals(readFileSync(whole))).toBe(true);
    expect(readdirSync(folder)).toEqual(['c1.backup']);
    await expectNothingHalfDone(store, ['c1']);
  });

  test('restore of a backup, in another store', { timeout: 240_000 }, async () => {
    const { store, shown } = await storeWithChanges();
    const file = scratch.path('c1.backup');
    await store.ok('backup', 'c1', file);
    const other = scratch.makeStore();
    const tookMs = await timed(() => store.ok('restore', file, '--name', 'again'));
    const there: string[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const name = `r${round}`;
      const ended = await runKilled(other, ['restore', file, '--name', name], tookMs);
      const again = await other.run(['restore', file, '--name', name]);
      expect(ended.status === 0 ? [1] : [0, 1], again.stderr).toContain(again.status);
      if (again.status === 1) expect(again.stderr).toMatch(/there is a container/);
      there.push(name);
    }
    for (const name of [there[0], there.at(-1)]) await expectRoot(other, name ?? '', shown);
    expect(readdirSync(join(other.path, 'staging'))).toEqual([]);
    await expectNothingHalfDone(other, there);
  });

  test.each(['file', 'layout'] as const)('export as a %s', { timeout: 240_000 }, async (form) => {
    const { store } = await storeWithChanges();
    const folder = scratch.makeFolder('exports');
    const first = scratch.path('first');
    const firstLayout = scratch.path('layout');
    const path = join(folder, 'image');
    const target = form === 'file' ? path : `oci:${path}`;
    const { digest } = (await store.json('export', 'c1', form === 'file' ? first : `oci:${firstLayout}`)) as { digest: string };
    const tookMs = await timed(() => store.ok('export', 'c1', `oci:${firstLayout}:again`));
    for (let round = 0; round < ROUNDS; round += 1) {
      await runKilled(store, ['export', 'c1', target], tookMs);
      // What has the name is a whole image.
      if (form === 'file' && existsSync(path)) expect(readFileSync(path).equals(readFileSync(first))).toBe(true);
      if (form === 'layout' && existsSync(join(path, 'index.json'))) expect(readFileSync(join(path, 'index.json'), 'utf8')).toContain(digest);
    }
    expect(((await store.json('export', 'c1', target, '--wait', '10')) as { digest: string }).digest).toBe(digest);
    expect(readdirSync(folder)).toEqual(['image']);
    await store.run(['umount', 'c1', '--wait', '10']);
    await store.ok('template', 'import', 'again', form === 'file' ? `oci-archive:${path}` : target);
    expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
    await expectNothingHalfDone(store, ['c1']);
  });
});
