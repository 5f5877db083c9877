import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useScratch } from '../support/scratch.js';
import type { Ended } from '../support/run-program.js';
import type { TestStore } from '../support/test-store.js';

/** How often something is killed; `TEMPLATEFS_GC_KILLS=500 npm test -- gc-killed` for longer. */
const ROUNDS = Number(process.env['TEMPLATEFS_GC_KILLS'] ?? 6);

const scratch = useScratch();

/** Kills a command at a random time of its run. */
function killed(store: TestStore, args: readonly string[], runMs: number): Promise<Ended> {
  return store.run(['--json', '--wait', '60', ...args], {
    onStart: (child) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), 60 + Math.random() * runMs);
      child.once('exit', () => { clearTimeout(timer); });
    },
  });
}

function template(round: number): string {
  const folder = scratch.makeFolder(`template-${round}`);
  for (let n = 0; n < 50; n += 1) writeFileSync(join(folder, `f${n}`), `file ${n} of ${n % 5 === 0 ? 'all' : round}`);
  return folder;
}

test('collections, imports, creates and destroys that are killed at any time leave a sound store, and in the end nothing', { timeout: 60_000 + ROUNDS * 30_000 }, async () => {
  const store = scratch.makeStore();
  await store.make(template(-1), 'stays');
  const root = await store.mount('stays');
  for (let round = 0; round < ROUNDS; round += 1) {
    const [name, container] = [`t${round % 3}`, `c${round % 3}`];
    await Promise.all([
      killed(store, ['template', 'import', name, template(round), ...(round % 2 === 0 ? [] : ['--refresh'])], 700),
      killed(store, ['gc'], 700),
      killed(store, ['create', container, '--ostemplate', 't'], 300),
      killed(store, ['destroy', `c${(round + 1) % 3}`], 300),
    ]);
    await store.run(['template', 'remove', `t${(round + 1) % 3}`]);
    if (round % 4 === 3) await store.expectSound();
  }
  const done = await store.run(['--json', '--wait', '60', 'gc']);
  expect(done.status, done.stdout + done.stderr).toBe(0);
  await store.expectSound();
  expect(readdirSync(root)).toHaveLength(50);
  for (const { name } of (await store.json('list')) as { name: string }[]) await store.ok('destroy', name, '--force');
  for (const { name } of (await store.json('template', 'list')) as { name: string }[]) await store.ok('template', 'remove', name);
  await store.ok('gc');
  expect(store.sharedFiles().size).toBe(0);
  for (const folder of ['staging', 'private', 'sums']) expect(readdirSync(join(store.path, folder)), folder).toEqual([]);
  expect(readdirSync(join(store.path, 'run')).filter((name) => name !== '.locks')).toEqual([]);
  rmSync(store.path, { recursive: true });
});
