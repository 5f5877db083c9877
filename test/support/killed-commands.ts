import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'vitest';
import type { Ended } from './run-program.js';
import type { TestStore } from './test-store.js';

/** How long the command line takes to start; it does nothing before. */
const START_MS = 60;

/** Runs a command and kills it at a random time that spreads over its whole run. */
export async function runKilled(store: TestStore, args: readonly string[], runMs: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<Ended> {
  return store.run(args, {
    onStart: (child) => {
      const timer = setTimeout(() => child.kill(signal), START_MS + Math.random() * runMs);
      child.once('exit', () => {
        clearTimeout(timer);
      });
    },
  });
}

/** After a command that writes has run, nothing half done is left. */
export async function expectNothingHalfDone(store: TestStore, containers: readonly string[]): Promise<void> {
  expect(readdirSync(join(store.path, 'private')).sort()).toEqual([...containers].sort());
  expect(((await store.json('list')) as { name: string }[]).map(({ name }) => name).sort()).toEqual([...containers].sort());
  const database = new Database(join(store.path, 'catalog.sqlite'), { readonly: true });
  expect(database.prepare('SELECT * FROM journal').all()).toEqual([]);
  database.close();
  await store.expectSound();
}
