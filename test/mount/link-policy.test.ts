// What decides which files `link` looks at, how fast, and how often.
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const scratch = useScratch();
const store = scratch.makeStore();
const roots = new Map<string, string>();
const CONTAINERS = ['c1', 'c2'];

/** The same content for all containers. */
function putAll(path: string, content: string | Buffer, ageSeconds = 0): void {
  for (const root of roots.values()) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    if (ageSeconds > 0) utimesSync(file, Date.now() / 1000 - ageSeconds, Date.now() / 1000 - ageSeconds);
  }
}

/** Names of the files below a folder that have no content of their own any more. */
function linkedIn(container: string, folder: string, of: TestStore = store): string[] {
  const host = join(of.path, 'private', container, 'root', folder);
  return readdirSync(host).filter((name) => statSync(join(host, name)).blocks <= 8).sort();
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`${what} did not come`);
    await sleep(20);
  }
}

/** Whether a process has a file open that a container wrote. */
function isReadingPrivate(child: ChildProcess): boolean {
  const folder = `/proc/${child.pid ?? 0}/fd`;
  try {
    return readdirSync(folder).some((fd) => {
      try {
        return /\/private\/c\d\/root\/rate\/./.test(readlinkSync(join(folder, fd)));
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

beforeAll(async () => {
  const folder = scratch.makeFolder('template');
  writeFileSync(join(folder, 'file'), 'of the template');
  await store.make(folder, ...CONTAINERS);
  for (const name of CONTAINERS) roots.set(name, await store.mount(name));
});

describe('the policy of link', () => {
  test('sizes, paths and ages: of the command, of the container, of the store', async () => {
    for (const folder of ['srv/here', 'srv/there']) {
      for (const size of [20_000, 30_000, 40_000]) putAll(`${folder}/${size}`, `${folder}${'x'.repeat(size)}`.slice(0, size), 1000);
      putAll(`${folder}/young`, `${folder}${'y'.repeat(30_000)}`);
    }
    const linked = (): string[][] => ['srv/here', 'srv/there'].map((folder) => linkedIn('c1', folder));
    const done = (await store.json('link', '--all', '--least-size', '30000', '--greatest-size', '39999', '--path', '/srv/here', '--age', '600')) as { skipped: unknown[] };
    expect(linked()).toEqual([['30000'], []]);
    expect(done.skipped).toEqual(CONTAINERS.map((container) => ({ container, path: '/srv/here/young', reason: 'written to lately' })));
    writeFileSync(join(store.path, 'config'), 'templatefs-store 1\nlink-path /srv/there\nlink-age 600\nlink-greatest 30000\n');
    await store.ok('link', '--all');
    expect(linked()).toEqual([['30000'], ['20000', '30000']]);
    for (const name of CONTAINERS) appendFileSync(join(store.path, 'private', name, 'container'), 'link-path /srv\nlink-greatest 20000\n');
    await store.ok('link', '--all');
    expect(linked()).toEqual([['20000', '30000'], ['20000', '30000']]);
    await store.ok('link', '--all', '--greatest-size', '1G', '--age', '0', '--path', '/');
    expect(linked()).toEqual(Array(2).fill(['20000', '30000', '40000', 'young']));
    writeFileSync(join(store.path, 'config'), 'templatefs-store 1\n');
    for (const name of CONTAINERS) {
      const file = join(store.path, 'private', name, 'container');
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/^link-.*\n/gm, ''));
    }
    await store.expectSound();
  });

  test('a rate holds back reading, at the lowest disk priority, and can be interrupted', async () => {
    putAll('rate/large', Buffer.alloc(8 << 20, 'at this rate it would take most of an hour'));
    let priority = '';
    const watch = async (child: ChildProcess): Promise<void> => {
      while (child.exitCode === null && !isReadingPrivate(child)) await sleep(20);
      priority = await runOk('ionice', ['-p', String(child.pid)]);
      child.kill('SIGINT');
    };
    let watched = Promise.resolve();
    const ended = await store.run(['--json', 'link', '--all', '--rate', '4K'], { onStart: (child) => { watched = watch(child); } });
    await watched;
    expect(ended.status, ended.stderr).toBe(130);
    expect(ended.stderr).toContain('INTERRUPTED');
    expect(priority.trim()).toBe('best-effort: prio 7');
    expect(linkedIn('c1', 'rate')).toEqual([]);
    await store.ok('link', '--all');
    expect(linkedIn('c1', 'rate')).toEqual(['large']);
  });

  test('--watch goes on until it is ended', async () => {
    let child: ChildProcess | undefined;
    const ended = store.run(['link', '--all', '--watch', '0.1'], { onStart: (started) => { child = started; } });
    for (const name of ['first', 'second']) {
      putAll(`watch/${name}`, name.repeat(5_000));
      await until(`the link of ${name}`, () => CONTAINERS.every((container) => linkedIn(container, 'watch').includes(name)));
    }
    expect(child?.exitCode).toBe(null);
    child?.kill('SIGTERM');
    expect((await ended).status).toBe(130);
  });

  test('a store is a sharing domain: nothing is shared with what another one has', async () => {
    const other = scratch.makeStore();
    const folder = scratch.makeFolder('other');
    writeFileSync(join(folder, 'file'), 'of the other template');
    await other.make(folder, 'd1');
    roots.set('d1', await other.mount('d1'));
    putAll('domain/secret', 'known to both tenants\n'.repeat(500));
    roots.delete('d1');
    // Two containers of one store have it, of the other one only.
    await store.ok('link', '--all');
    expect(await other.json('link', '--all')).toMatchObject({ adoptedFiles: 0, mergedFiles: 0 });
    expect(CONTAINERS.map((name) => linkedIn(name, 'domain'))).toEqual([['secret'], ['secret']]);
    expect(linkedIn('d1', 'domain', other)).toEqual([]);
    const objects = (of: TestStore): string[] => readdirSync(join(of.path, 'objects'), { recursive: true, encoding: 'utf8' }).filter((name) => name.length > 30);
    expect(objects(other)).toHaveLength(1);
    expect(objects(store).some((name) => existsSync(join(other.path, 'objects', name)))).toBe(false);
  });
});
