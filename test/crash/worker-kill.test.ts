import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { PYTHON, supportFile } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

/** TEMPLATEFS_CRASH_KILLS makes it longer. */
const KILLS = Number(process.env['TEMPLATEFS_CRASH_KILLS'] ?? 40);

const scratch = useScratch();

interface LoadResult {
  readonly operations: number;
  /** Threads that did almost nothing. */
  readonly idle: readonly number[];
  readonly errors: readonly string[];
  readonly wrong: readonly string[];
}

/** Starts load.py and returns when it is under way. */
async function startLoad(root: string): Promise<{ stop: () => Promise<LoadResult>; kill: () => void }> {
  const child = spawn(PYTHON, [supportFile('load.py'), root], { stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  const ended = new Promise((resolve) => child.once('close', resolve));
  await expect.poll(() => stdout + stderr, { timeout: 20_000 }).toBe('ready\n');
  return {
    kill: () => child.kill('SIGKILL'),
    async stop() {
      child.stdin.end();
      await Promise.race([ended, sleep(90_000, undefined, { ref: false })]);
      const line = stdout.trim().split('\n').at(-1) ?? '';
      if (!line.startsWith('{')) throw new Error(`the load gave no result: ${stderr}`);
      return JSON.parse(line) as LoadResult;
    },
  };
}

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
