import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { errnoOf } from '../../src/core/errors.js';
import { enginePath } from '../../src/core/engine-path.js';
import { runOk } from '../support/run-program.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';
import { startLoad } from '../support/start-load.js';
import type { TestStore } from '../support/test-store.js';

/*
 * Other engines are copies of the built one with some bytes changed: a version, the number of the state, a name that one part of it
 * needs. So they are real programs, and cost no build.
 */

const scratch = useScratch();
let ours = '';
let newer = '';
let template = '';
let version = '';

/** A copy of the engine in which each text stands in the place of another of the same length. */
function changedEngine(name: string, ...changes: readonly [string, string][]): string {
  let bytes = readFileSync(ours).toString('latin1');
  for (const [old, text] of changes) {
    expect(text).toHaveLength(old.length);
    expect(bytes).toContain(old);
    bytes = bytes.replaceAll(old, text);
  }
  const path = scratch.path(name);
  writeFileSync(path, bytes, 'latin1');
  chmodSync(path, 0o755);
  return path;
}

function withVersion(name: string, other: string, ...changes: readonly [string, string][]): string {
  return changedEngine(name, [`templatefs-engine ${version} protocol`, `templatefs-engine ${other} protocol`], ...changes);
}

beforeAll(async () => {
  ours = enginePath();
  version = (await runOk(ours, ['--version'])).split(' ')[1] ?? '';
  newer = withVersion('engine-newer', '0.1.9');
  template = await buildRoot(scratch.path('template'));
});

async function storeWith(...containers: string[]): Promise<TestStore> {
  const store = scratch.makeStore();
  await store.make(template, ...containers);
  return store;
}

interface Upgraded {
  readonly containers: readonly { name: string; from: string | null; to: string | null }[];
  readonly failed: readonly { name: string; code: string; message: string }[];
}

async function upgrade(store: TestStore, container: string, engine: string): Promise<Upgraded> {
  return (await store.json('engine', 'upgrade', container, '--engine', engine)) as Upgraded;
}

/** What an upgrade that is refused must leave as it was. */
function serving(store: TestStore): { holder: string | undefined; worker: string | undefined; version: string | undefined } {
  const engine = store.engineFile('c1');
  return { holder: engine.get('holder'), worker: engine.get('worker'), version: engine.get('version') };
}

describe('engine upgrade', () => {
  test('is a pause for programs with open, mapped, locked and unlinked files, also while workers are killed', { timeout: 240_000 }, async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const load = await startLoad(root);
    try {
      let engine = ours;
      const storm = new AbortController();
      const killing = (async () => {
        while (!storm.signal.aborted) {
          await sleep(Math.random() * 120);
          await store.killWorker('c1').catch((error: unknown) => {
            // An upgrade has ended it, and not yet said which worker is the next.
            if (errnoOf(error) !== 'ESRCH') throw error;
          });
        }
      })();
      for (let round = 0; round < 6; round += 1) {
        if (round === 3) {
          storm.abort();
          await killing;
        }
        const before = serving(store);
        engine = engine === ours ? newer : ours;
        const done = await upgrade(store, 'c1', engine);
        const [from, to] = engine === ours ? ['0.1.9', version] : [version, '0.1.9'];
        expect(done).toMatchObject({ containers: [{ name: 'c1', from, to }], failed: [] });
        expect(serving(store).holder).not.toBe(before.holder);
        expect(await store.info('c1')).toMatchObject({ state: 'mounted', engineVersion: to });
      }
      expect(await load.stop()).toMatchObject({ errors: [], wrong: [], idle: [] });
    } finally {
      load.kill();
    }
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toHaveLength(2);
    expect(await store.json('list')).toMatchObject([{ name: 'c1', engineVersion: version }]);
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test('refuses an engine that cannot take the state over before it touches anything', async () => {
    const store = await storeWith('c1');
    await store.mount('c1');
    const before = serving(store);
    const other = withVersion('engine-other-state', '0.2.0', [' state 3', ' state 9']);
    const error = await store.refuses(['engine', 'upgrade', 'c1', '--engine', other], { status: 13, code: 'ENGINE_STATE_MISMATCH', message: /keeps state 3, the engine 0\.2\.0 .* takes state 9: nothing was changed/ });
    expect(error.hint).toMatch(/templatefs umount c1 && templatefs mount c1/);
    expect(serving(store)).toEqual(before);
    await store.ok('umount', 'c1');
  });

  test.each([
    ['cannot be executed', 'script', /cannot be started/],
    ['ends at once', 'verb', /it ends, or does nothing/],
    ['has a worker that cannot serve', 'worker', /do not come up/],
  ])('goes on with the old engine when the new one %s', async (_name, kind, message) => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    const before = serving(store);
    let broken: string;
    if (kind === 'script') {
      broken = scratch.path('engine-script');
      writeFileSync(broken, `#!/bin/sh\nexec ${ours} "$@"\n`, { mode: 0o755 });
    } else if (kind === 'verb') broken = withVersion('engine-without-verb', '0.1.7', ['\0resume\0', '\0rezume\0']);
    else broken = withVersion('engine-without-worker', '0.1.8', ['\0/dev/null\0', '\0/dev/nulx\0']);
    await store.refuses(['engine', 'upgrade', 'c1', '--engine', broken], { status: 13, code: 'ENGINE_FAILED', message });
    expect(serving(store)).toMatchObject({ holder: before.holder, version });
    if (kind !== 'worker') expect(serving(store)).toEqual(before);
    expect(readFileSync(join(root, 'usr/lib/file'), 'utf8')).toBe('from the template\n');
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toHaveLength(2);
    expect((await upgrade(store, 'c1', newer)).containers).toMatchObject([{ to: '0.1.9' }]);
    await store.ok('umount', 'c1');
  });

  test('takes the old engine back when workers of the new one crash', async () => {
    const store = await storeWith('c1');
    const root = await store.mount('c1');
    await upgrade(store, 'c1', newer);
    const holder = serving(store).holder;
    for (let crash = 0; crash < 3; crash += 1) {
      const worker = store.workerPid('c1');
      process.kill(worker, 'SIGSEGV');
      await expect.poll(() => store.workerPid('c1'), { timeout: 30_000, interval: 5 }).not.toBe(worker);
    }
    expect(serving(store)).toMatchObject({ version });
    expect(serving(store).holder).not.toBe(holder);
    expect(readFileSync(join(root, 'usr/lib/file'), 'utf8')).toBe('from the template\n');
    expect(readFileSync(join(store.path, 'run/c1/log'), 'utf8')).toMatch(/the new engine of c1 crashes, the old one goes on/);
    await store.ok('umount', 'c1');
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toEqual([]);
  });

  test('--all goes on when one fails, and names it', async () => {
    const store = await storeWith('c1', 'c2', 'c3');
    const other = withVersion('engine-other', '0.2.0', [' state 3', ' state 9']);
    await store.mount('c1');
    expect((await store.run(['mount', 'c2'], { env: { TEMPLATEFS_ENGINE: other } })).status).toBe(0);
    const ended = await store.run(['--json', 'engine', 'upgrade', '--all', '--engine', newer]);
    expect(ended.status, ended.stderr).toBe(3);
    expect(JSON.parse(ended.stdout)).toMatchObject({
      engineVersion: '0.1.9',
      containers: [{ name: 'c1', from: version, to: '0.1.9' }],
      failed: [{ name: 'c2', code: 'ENGINE_STATE_MISMATCH' }],
    });
    expect(await store.json('list')).toMatchObject([{ engineVersion: '0.1.9' }, { engineVersion: '0.2.0' }, { engineVersion: null }]);
    expect(await upgrade(store, 'c3', newer)).toMatchObject({ containers: [{ name: 'c3', from: null, to: null }] });
    await store.ok('umount', 'c1');
    await store.ok('umount', 'c2');
  });

  test('wants a container or --all', async () => {
    const store = await storeWith('c1');
    await store.refuses(['engine', 'upgrade'], { status: 2, code: 'USAGE', message: /takes a container, or --all/ });
    await store.refuses(['engine', 'upgrade', 'c9'], { status: 10, code: 'CONTAINER_NOT_FOUND', message: /c9/ });
    await store.refuses(['engine', 'upgrade', 'c1', '--engine', '/nowhere/engine'], { status: 13, code: 'ENGINE_FAILED', message: /nowhere/ });
  });
});
