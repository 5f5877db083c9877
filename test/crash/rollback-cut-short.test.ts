import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeAll, expect, test } from 'vitest';
import { makeMiniDebian, type MiniDebian } from '../support/mini-debian.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';
import { CLI } from '../support/project.js';

/* What a rollback leaves that was killed after it had begun: found by cuts of `npm run test:power-loss -- --command rollback`. */

const scratch = useScratch();
let store: TestStore;
let mini: MiniDebian;

async function change(which: 'old' | 'new', ...args: string[]): Promise<void> {
  await runOk(CLI, ['--store', store.path, ...args], { env: mini.environment(which) });
}

/** The catalog as it is when a rollback is killed. */
function beginRollback(transaction: number): void {
  const database = new Database(join(store.path, 'catalog.sqlite'));
  database.prepare("UPDATE transactions SET state = 'running' WHERE id = ?").run(transaction);
  database.prepare("INSERT INTO journal (operation, subject, pid, pid_start, boot, started) VALUES ('change-container', 'c', 1, 'none', 'another', '')").run();
  database.close();
}

function states(): unknown[] {
  const database = new Database(join(store.path, 'catalog.sqlite'), { readonly: true });
  const found = [...database.prepare('SELECT id, state FROM transactions ORDER BY id').raw().all(), ...database.prepare('SELECT subject FROM journal').raw().all()];
  database.close();
  return found;
}

const tool = async (): Promise<string> => (await store.run(['exec', 'c', '--no-network', '--', 'sh', '-c', 'tool; dpkg --audit; dpkg --verify'])).stdout;

beforeAll(async () => {
  store = scratch.makeStore();
  mini = await makeMiniDebian(scratch, store);
  await store.ok('create', 'c', '--ostemplate', mini.template);
});

test('a rollback that was cut short is finished by the next command, and by itself when it is run again', async () => {
  await change('old', 'install', 'c', 'tool');
  await change('new', 'update', 'c');
  expect(await tool()).toBe('tool 2.0\n');

  // Run again it undoes no other transaction.
  beginRollback(2);
  expect(await store.json('rollback', 'c')).toMatchObject({ transaction: 2, operation: 'update' });
  expect(states()).toEqual([[1, 'done'], [2, 'undone']]);
  expect(await tool()).toBe('tool 1.0\n');

  // What something else has written since stays.
  const root = await store.mount('c');
  writeFileSync(join(root, 'srv/mine'), 'since then');
  await store.ok('umount', 'c');
  beginRollback(1);
  await store.ok('create', 'other', '--ostemplate', mini.template);
  expect(states()).toEqual([[1, 'undone'], [2, 'undone']]);
  expect((await store.info('c')).state).toBe('stopped');
  expect(await tool()).toBe('');
  expect(readFileSync(join(await store.mount('c'), 'srv/mine'), 'utf8')).toBe('since then');
  await store.ok('umount', 'c');
  expect(await store.json('snapshot', 'list')).toEqual([]);
  expect(existsSync(join(store.path, 'private/.snapshots/c'))).toBe(false);
  await store.expectSound();
});
