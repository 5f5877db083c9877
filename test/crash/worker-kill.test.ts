import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { PYTHON, supportFile } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';
import { startLoad } from '../support/start-load.js';

/** TEMPLATEFS_CRASH_KILLS makes it longer. */
const KILLS = Number(process.env['TEMPLATEFS_CRASH_KILLS'] ?? 40);

const scratch = useScratch();

describe('a worker that is killed at random under load', () => {
  test.each([
    ['with passthrough', []],
    ['without passthrough', ['--no-passthrough']],
  ])('is noticed by nobody, %s', { timeout: 240_000 }, async (_name, options) => {
    const store = scratch.makeStore();
    await store.make(await buildRoot(scratch.path('template')), 'c1');
    const shared = store.sharedFiles();
    const root = await store.mount('c1', ...options);
    const load = await startLoad(root);
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        await sleep(Math.random() * 150);
        await store.killWorker('c1');
      }
      await sleep(200);
      const result = await load.stop();
      expect(result).toMatchObject({ errors: [], wrong: [], idle: [] });
      expect(result.operations).toBeGreaterThan(KILLS * 20);
      expect((await store.info('c1')).engineRestarts).toBe(KILLS);
    } finally {
      load.kill();
    }
    await store.ok('umount', 'c1');
    expect(store.sharedFiles()).toEqual(shared);
    await store.expectSound();
    // What was held open only is gone, and the rest of the root is usable.
    await store.mount('c1');
    await store.ok('umount', 'c1');
  });

  test('goes on when several are killed in a row, before they have taken over', async () => {
    const store = scratch.makeStore();
    await store.make(await buildRoot(scratch.path('template')), 'c1');
    const root = await store.mount('c1');
    const load = await startLoad(root);
    try {
      for (let round = 0; round < 5; round += 1) {
        for (let kill = 0; kill < 5; kill += 1) {
          await store.killWorker('c1');
          await sleep(kill);
        }
        await sleep(100);
      }
      expect(await load.stop()).toMatchObject({ errors: [], wrong: [], idle: [] });
    } finally {
      load.kill();
    }
  });

  test('goes on when it is killed again and again while nobody uses the root', async () => {
    const store = scratch.makeStore();
    await store.make(await buildRoot(scratch.path('template')), 'c1');
    const root = await store.mount('c1');
    for (let kill = 0; kill < 60; kill += 1) await store.killWorker('c1');
    expect((await store.info('c1')).engineRestarts).toBe(60);
    expect(readFileSync(join(root, 'usr/lib/file'), 'utf8')).toBe('from the template\n');
  });
});

describe('a request that crashes each worker that gets it', () => {
  test('is answered with an I/O error, and the rest of the root goes on', async () => {
    const store = scratch.makeStore();
    await store.make(await buildRoot(scratch.path('template')), 'c1');
    const root = await store.mount('c1');
    const holder = Number(store.engineFile('c1').get('holder'));
    // In a folder that is private already, a look-up does statx(2) of the name.
    mkdirSync(join(root, 'data/before'));
    const call = process.arch === 'x64' ? 332 : 291;
    const tracer = spawn(PYTHON, [supportFile('crash_at_call.py'), String(holder), String(call), 'deadly'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    tracer.stdout.on('data', (text: Buffer) => (said += text.toString()));
    try {
      await expect.poll(() => said, { timeout: 20_000 }).toMatch(/^ready/);
      // Meanwhile others work on.
      const load = await startLoad(root);
      try {
        await expect(stat(join(root, 'data/deadly'))).rejects.toMatchObject({ code: 'EIO' });
        expect(await load.stop()).toMatchObject({ errors: [], wrong: [] });
      } finally {
        load.kill();
      }
      expect(said.match(/crashed/g)).toHaveLength(5);
      expect(await store.info('c1')).toMatchObject({ state: 'mounted', engineRestarts: 5 });
      await mkdir(join(root, 'data/another'));
      expect(readFileSync(join(store.path, 'run/c1/log'), 'utf8')).toMatch(/5 workers of c1 crashed at one request \(opcode 1\), which is answered EIO/);
    } finally {
      tracer.kill('SIGKILL');
    }
    await mkdir(join(root, 'data/deadly'));
    await store.ok('umount', 'c1');
    await store.expectSound();
  });
});
