import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { acquireLock, removeLockFile, type LockMode } from '../../../src/catalog/lock.js';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { compiledSources } from './compiled-sources.js';
import { temporaryStore } from './temporary-store.js';

const HOLDER = `
import { acquireLock } from './catalog/lock.js';
import { StorePaths } from './core/store-paths.js';
const [store, name, mode] = process.argv.slice(2);
const held = await acquireLock({ paths: new StorePaths(store), name, what: name, mode, command: 'templatefs exec ' + name });
process.stdout.write('held');
process.stdin.once('data', () => { held.release(); process.stdout.write('released'); });
process.stdin.resume();
`;

/** A real process that holds a lock until it reads a byte. */
async function holder(paths: StorePaths, name: string, mode: LockMode): Promise<ChildProcess> {
  const sources = compiledSources('core', 'store', 'catalog');
  writeFileSync(join(sources, 'holder.js'), HOLDER);
  const child = spawn(process.execPath, [join(sources, 'holder.js'), paths.store, name, mode], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = once(child, 'exit').then(() => { throw new Error('the holder ended before it held the lock'); });
  await Promise.race([once(child.stdout, 'data'), ended]);
  ended.catch(() => undefined);
  return child;
}

function take(paths: StorePaths, mode: LockMode, waitMs = 0): ReturnType<typeof acquireLock> {
  return acquireLock({ paths, name: 'container-c1', what: 'container c1', mode, waitMs });
}

describe('locks between processes', () => {
  test('an exclusive lock keeps all others out, and the message names who holds it', async () => {
    const paths = temporaryStore();
    const child = await holder(paths, 'container-c1', 'exclusive');
    for (const mode of ['exclusive', 'shared'] as const) {
      await expect(take(paths, mode)).rejects.toMatchObject({
        code: 'BUSY',
        message: expect.stringMatching(new RegExp(`^container c1 is in use by .templatefs exec container-c1. \\(pid ${child.pid ?? 0},`)) as string,
        hint: expect.stringContaining('--wait') as string,
      });
    }
  });

  test('shared holders tolerate one another and keep an exclusive one out', async () => {
    const paths = temporaryStore();
    const child = await holder(paths, 'container-c1', 'shared');
    const shared = await take(paths, 'shared');
    await expect(take(paths, 'exclusive')).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining(`pid ${child.pid ?? 0}`) as string });
    shared.release();
  });

  test('SIGKILL of the holder frees its lock and leaves a note that nobody believes', async () => {
    const paths = temporaryStore();
    const child = await holder(paths, 'container-c1', 'exclusive');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(readdirSync(paths.locks).filter((name) => name.includes('holder'))).toHaveLength(1);
    const held = await take(paths, 'exclusive');
    expect(readdirSync(paths.locks).filter((name) => name.includes('holder'))).toHaveLength(1);
    held.release();
    expect(readdirSync(paths.locks)).toEqual(['container-c1']);
  });

  test('waiting ends when the holder lets go', async () => {
    const paths = temporaryStore();
    const child = await holder(paths, 'container-c1', 'exclusive');
    setTimeout(() => child.stdin?.write('x'), 200);
    (await take(paths, 'exclusive', 20_000)).release();
  });

  test('waiting ends when the user gives up', async () => {
    const paths = temporaryStore();
    await holder(paths, 'container-c1', 'exclusive');
    const controller = new AbortController();
    setTimeout(() => { controller.abort(new Error('enough')); }, 100);
    const waiting = acquireLock({ paths, name: 'container-c1', what: 'x', mode: 'exclusive', waitMs: 60_000, signal: controller.signal });
    await expect(waiting).rejects.toThrow('enough');
  });
});

describe('locks in one process', () => {
  test('count as those of different processes do', async () => {
    const paths = temporaryStore();
    const first = await take(paths, 'exclusive');
    await expect(take(paths, 'shared')).rejects.toMatchObject({ code: 'BUSY' });
    first.release();
    first.release();
    (await take(paths, 'exclusive')).release();
  });

  test('a lock whose file was removed is taken on the new file', async () => {
    const paths = temporaryStore();
    const held = await take(paths, 'exclusive');
    removeLockFile(paths, 'container-c1');
    held.release();
    const next = await take(paths, 'exclusive');
    expect(existsSync(join(paths.locks, 'container-c1'))).toBe(true);
    await expect(take(paths, 'exclusive')).rejects.toMatchObject({ code: 'BUSY' });
    next.release();
  });
});
