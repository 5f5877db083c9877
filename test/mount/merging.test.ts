import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StorePaths } from '../../src/core/store-paths.js';
import { linkContainers } from '../../src/service/link-containers.js';
import { Agent, O_RDONLY } from '../support/agent.js';
import { ENGINE } from '../support/project.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

interface Linked {
  readonly adoptedFiles: number;
  readonly mergedFiles: number;
  readonly keptFiles: number;
  readonly readBytes: number;
  readonly savedBytes: number;
  readonly unchanged: number;
  readonly skipped: readonly { readonly container: string; readonly path: string; readonly reason: string }[];
}

const scratch = useScratch();
const store = scratch.makeStore();
const agent = new Agent();
const roots = new Map<string, string>();
const CONTENT = 'the same in all\n'.repeat(1000);

function put(container: string, path: string, content: string | Buffer): void {
  const file = join(roots.get(container) ?? '', path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function seen(container: string, path: string): Record<string, unknown> {
  const { ino, mode, nlink, uid, gid, size, blocks, mtimeNs, ctimeNs } = statSync(join(roots.get(container) ?? '', path), { bigint: true });
  return { ino, mode, nlink, uid, gid, size, blocks, mtimeNs, ctimeNs };
}

async function link(...args: string[]): Promise<Linked> {
  return (await store.json('link', ...args)) as Linked;
}

beforeAll(async () => {
  const folder = scratch.makeFolder('template');
  mkdirSync(join(folder, 'usr/lib'), { recursive: true });
  writeFileSync(join(folder, 'usr/lib/known'), CONTENT.toUpperCase());
  await store.make(folder, 'c1', 'c2');
  for (const name of ['c1', 'c2']) roots.set(name, await store.mount(name));
});
afterAll(() => agent.end());

describe('link', () => {
  test('makes one object of what several have, and nobody sees it', async () => {
    for (const name of ['c1', 'c2']) {
      put(name, 'usr/lib/a', CONTENT);
      put(name, 'var/known', CONTENT.toUpperCase());
      put(name, 'var/own', `${name}${CONTENT}`);
      put(name, 'etc/small', 'x');
    }
    const paths = ['usr/lib/a', 'var/known', 'var/own', 'etc/small'];
    const before = paths.map((path) => seen('c2', path));
    const foretold = await link('--all', '--dry-run');
    expect(foretold).toMatchObject({ adoptedFiles: 2, mergedFiles: 4 });
    const done = await link('--all');
    expect(done).toMatchObject({ adoptedFiles: 2, mergedFiles: 4, keptFiles: 0, skipped: [] });
    expect(paths.map((path) => seen('c2', path))).toEqual(before);
    expect((await store.info('c1')).links).toBe(3);
    await store.remount('c2');
    expect(paths.map((path) => seen('c2', path))).toEqual(before);
    for (const name of ['c1', 'c2']) expect(readFileSync(join(roots.get(name) ?? '', 'var/own'), 'utf8')).toBe(`${name}${CONTENT}`);
    await store.expectSound();
  });

  test('reads nothing where nothing was written, and only what is new where something was', async () => {
    await link('--all');
    expect(await link('--all')).toMatchObject({ unchanged: 2, readBytes: 0, mergedFiles: 0 });
    put('c1', 'var/late', CONTENT);
    const late = await link('--all');
    expect(late).toMatchObject({ unchanged: 1, mergedFiles: 1 });
    // Itself: of small objects the name says enough.
    expect(late.readBytes).toBe(CONTENT.length);
    await store.ok('umount', 'c1');
    await store.ok('umount', 'c2');
    await link('--all');
    expect(await link('--all')).toMatchObject({ unchanged: 2, readBytes: 0 });
    for (const name of ['c1', 'c2']) await store.mount(name);
    expect(await link('--all')).toMatchObject({ unchanged: 2, readBytes: 0 });
  });

  test('needs no Node.js to see that nothing has changed', async () => {
    const saidWithoutNode = async (...more: string[]): Promise<string | undefined> => {
      const { status, stdout } = await store.run([...more, 'link', '--all'], { env: { PATH: '/nowhere' } });
      return status === 0 ? stdout : undefined;
    };
    await store.ok('link', '--all');
    const said = `${await store.ok('link', '--all')}\n`;
    expect(said).toMatch(/^0 files linked.*2 of 2 containers unchanged/m);
    expect(await saidWithoutNode()).toBe(said);
    expect(await saidWithoutNode('--quiet')).toBe(said);
    expect(await saidWithoutNode('--json')).toBeUndefined();
    // What an engine has noted; what a command has changed in the catalog, and in a policy.
    put('c1', 'var/unsettled', 'x');
    expect(await saidWithoutNode()).toBeUndefined();
    await store.ok('link', '--all');
    expect(await saidWithoutNode()).toBe(said);
    await store.ok('create', 'c3', '--ostemplate', 't');
    expect(await saidWithoutNode()).toBeUndefined();
    await store.ok('destroy', 'c3');
    await store.ok('link', '--all');
    expect(await saidWithoutNode()).toBe(said);
    const config = join(store.path, 'config');
    writeFileSync(config, 'templatefs-store 1\nlink-least 4096\n');
    expect(await saidWithoutNode()).toBeUndefined();
    rmSync(config);
    expect(await saidWithoutNode()).toBe(said);
    // Without an engine the mark is in a file.
    for (const name of ['c1', 'c2']) await store.ok('umount', name);
    await store.ok('link', '--all');
    expect(await saidWithoutNode()).toBe(said);
    for (const name of ['c1', 'c2']) await store.mount(name);
    await store.ok('link', '--all');
  });

  test('finds what is equal although it looks different, and leaves what looks the same and is not', async () => {
    const content = (letter: string): string => letter.repeat(50_000);
    // By path, size and time these two pairs are one file each.
    put('c1', 'looks/one', content('1'));
    put('c2', 'looks/one', content('2'));
    put('c1', 'looks/two', content('2'));
    put('c2', 'looks/two', content('3'));
    for (const root of roots.values()) for (const name of ['one', 'two']) utimesSync(join(root, 'looks', name), 1000, 1000);
    const done = await link('--all');
    const linkedNow = (container: string, name: string): boolean => statSync(join(store.path, 'private', container, 'root/looks', name)).blocks <= 8;
    expect([linkedNow('c2', 'one'), linkedNow('c1', 'two'), linkedNow('c2', 'two')]).toEqual([true, true, false]);
    expect(done.skipped).toEqual([]);
    const read = (container: string, name: string): string => readFileSync(join(roots.get(container) ?? '', 'looks', name), 'utf8');
    expect([read('c1', 'one'), read('c2', 'one'), read('c1', 'two'), read('c2', 'two')]).toEqual(['1', '2', '2', '3'].map(content));
    expect(await link('--all')).toMatchObject({ mergedFiles: 0, adoptedFiles: 0, unchanged: 2 });
    await store.expectSound();
  });

  test('finds what only links of a container hold in which nothing has changed', async () => {
    for (const name of ['var/twin-1', 'var/twin-2']) put('c2', name, `twins${CONTENT}`);
    for (const name of ['var/pair-1', 'var/pair-2']) put('c2', name, `pair${CONTENT}`);
    expect(await link('--all')).toMatchObject({ adoptedFiles: 2, mergedFiles: 2 });
    put('c1', 'var/third', `twins${CONTENT}`);
    expect(await link('--all')).toMatchObject({ unchanged: 1, adoptedFiles: 0, mergedFiles: 1 });
    put('c1', 'var/fourth', `pair${CONTENT}`);
    expect(await link('c1')).toMatchObject({ adoptedFiles: 0, mergedFiles: 1 });
  });

  test('shares the page cache of what was merged', async () => {
    // Larger than any other here, so that its object is found by its size.
    const content = Buffer.alloc(3_000_000, 'page');
    for (const name of ['c1', 'c2']) put(name, 'usr/lib/pages', content);
    expect(await link('c1', 'c2')).toMatchObject({ adoptedFiles: 1, mergedFiles: 1 });
    const objects = [...store.sharedFiles().keys()].filter((name) => name.startsWith('objects/') && statSync(join(store.path, name)).size === content.length);
    expect(objects).toHaveLength(1);
    for (const root of roots.values()) expect(readFileSync(join(root, 'usr/lib/pages')).equals(content)).toBe(true);
    const files = [join(store.path, objects[0] ?? ''), ...[...roots.values()].map((root) => join(root, 'usr/lib/pages'))];
    const resident = (await runOk(ENGINE, ['resident'], { input: files.map((file) => `${file}\0`).join('') })).trim().split('\n').map(Number);
    expect(resident[0]).toBeGreaterThan(0);
    expect(resident.slice(1)).toEqual([0, 0]);
  });

  test('leaves what is written to, and what somebody reads sees later writes', async () => {
    put('c1', 'var/log', CONTENT);
    put('c2', 'var/log', CONTENT);
    const file = join(roots.get('c1') ?? '', 'var/log');
    const reader = await agent.open(file, O_RDONLY);
    const kept = await link('--all');
    expect(kept).toMatchObject({ keptFiles: 1 });
    writeFileSync(file, `${CONTENT}more`);
    expect(await agent.read(reader, 100_000, CONTENT.length)).toBe('more');
    await agent.close(reader);
    const writer = await agent.open(file, 1);
    put('c1', 'var/more', `${CONTENT}more`);
    const left = await link('c1');
    expect(left.skipped).toEqual([{ container: 'c1', path: '/var/log', reason: 'open for writing' }]);
    await agent.close(writer);
    // Nothing has changed, and still it is looked at again.
    expect(await link('c1')).toMatchObject({ skipped: [] });
    expect(readFileSync(file, 'utf8')).toBe(`${CONTENT}more`);
  });

  test('never merges different contents, whatever their fingerprints', async () => {
    // A store of its own: its objects' names say less than `verify` wants.
    const weak = scratch.makeStore();
    const folder = scratch.makeFolder('weak');
    mkdirSync(join(folder, 'usr'));
    await weak.make(folder, 'w1', 'w2');
    for (const name of ['w1', 'w2']) roots.set(name, await weak.mount(name));
    const contents = Array.from({ length: 30 }, (_, number) => `${String(number).padStart(4, '0')}${CONTENT}`);
    for (const [number, content] of contents.entries()) for (const name of ['w1', 'w2']) put(name, `usr/${number}`, content);
    const done = await linkContainers({ paths: new StorePaths(weak.path) }, { hashBits: 3 });
    expect(done).toMatchObject({ adoptedFiles: 30, mergedFiles: 30, skipped: [] });
    const check = (): void => {
      for (const name of ['w1', 'w2']) {
        for (const [number, content] of contents.entries()) expect(readFileSync(join(roots.get(name) ?? '', `usr/${number}`), 'utf8')).toBe(content);
      }
    };
    check();
    await weak.remount('w1');
    check();
    // These look the same, too, and objects of other contents have their names.
    const alike = Array.from({ length: 30 }, (_, number) => `${String(30 + number).padStart(4, '0')}${CONTENT}`);
    for (const [number, content] of alike.entries()) {
      for (const name of ['w1', 'w2']) {
        put(name, `usr/${contents.length + number}`, content);
        utimesSync(join(roots.get(name) ?? '', `usr/${contents.length + number}`), 1000, 1000);
      }
    }
    contents.push(...alike);
    expect(await linkContainers({ paths: new StorePaths(weak.path) }, { hashBits: 3 })).toMatchObject({ adoptedFiles: 30, mergedFiles: 30, skipped: [] });
    check();
  });

  test('leaves a container whose engine ends, and goes on with the others', async () => {
    const names = Array.from({ length: 60 }, (_, number) => `lost/${number}`);
    for (const container of ['c1', 'c2']) for (const name of names) put(container, name, `${name}${CONTENT}`);
    let isKilled = false;
    const done = await linkContainers({
      paths: new StorePaths(store.path),
      onProgress: ({ step }) => {
        if (step !== 'merging' || isKilled) return;
        isKilled = true;
        for (const which of ['holder', 'worker']) process.kill(Number(store.engineFile('c1').get(which)), 'SIGKILL');
      },
    });
    expect(done.failed).toEqual([{ container: 'c1', reason: 'the engine of c1 has ended' }]);
    const isLink = (container: string, name: string): boolean => statSync(join(store.path, 'private', container, 'root', name)).blocks <= 8;
    expect(names.filter((name) => !isLink('c2', name))).toEqual([]);
    expect(names.filter((name) => !isLink('c1', name))).not.toEqual([]);
    await store.mount('c1');
    expect(await link('--all')).toMatchObject({ failed: [] });
    expect(names.filter((name) => !isLink('c1', name) || readFileSync(join(roots.get('c1') ?? '', name), 'utf8') !== `${name}${CONTENT}`)).toEqual([]);
    await store.expectSound();
  });

  test('takes a file that is being executed', async () => {
    for (const root of ['c1', 'c2'].map((name) => roots.get(name) ?? '')) {
      copyFileSync('/bin/sleep', join(root, 'usr/lib/sleep'));
      await runOk('chmod', ['755', join(root, 'usr/lib/sleep')]);
    }
    const program = join(roots.get('c1') ?? '', 'usr/lib/sleep');
    const running = runOk(program, ['3']);
    while (!existsSync(program)) await new Promise((resolve) => setTimeout(resolve, 10));
    await link('c1', 'c2');
    await running;
    expect(readFileSync(program).equals(readFileSync('/bin/sleep'))).toBe(true);
    await store.expectSound();
  });
});
