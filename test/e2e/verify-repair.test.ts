import { execFileSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import { packTar } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';
import { flipByte, objectName, objectOf, verify } from '../support/store-damage.js';
import type { TestStore } from '../support/test-store.js';

const scratch = useScratch();

/** Below /usr template files are open by passthrough, in /srv through the page cache of the root. */
const LIBRARY = 'library\n'.repeat(20_000);
const TOOL = 'tool\n'.repeat(30_000);
const PAGE = 'page\n'.repeat(10_000);

let source = '';
let store: TestStore;
let agent: Agent;

/** A template of a folder that is gone afterwards, or of one that stays. */
beforeEach(async () => {
  source = scratch.makeFolder('source');
  for (const [path, text] of [['usr/lib/library', LIBRARY], ['usr/bin/tool', TOOL], ['srv/page', PAGE], ['etc/hosts', 'hosts\n']] as const) {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    writeFileSync(join(source, path), text);
  }
  store = scratch.makeInProcessStore();
  await store.make(source, 'c1', 'c2');
  agent = new Agent();
});

afterEach(() => agent.end());

function set(path: string): string {
  return execFileSync('getfattr', ['-n', 'trusted.templatefs.node', '--only-values', '-h', path], { encoding: 'latin1' });
}

describe('a flipped byte', () => {
  test('what reads it fails from then on, also where it is open; a repair ends that, also where it is open', async () => {
    const root = await store.mount('c1');
    const [library, page] = [await agent.open(join(root, 'usr/lib/library')), await agent.open(join(root, 'srv/page'))];
    const mapped = await agent.map(library, LIBRARY.length);
    expect(await agent.read(library, 8)).toBe('library\n');
    expect(await agent.read(page, 5)).toBe('page\n');
    expect(await agent.mapRead(mapped, 8, 4000)).toBe('library\n');
    for (const [content, at] of [[LIBRARY, 4000], [TOOL, 10], [PAGE, 0]] as const) flipByte(objectOf(store, content), at);

    const found = await verify(store);
    expect(found.status).toBe(12);
    expect(found.problems.map(({ kind }) => kind)).toEqual(['object', 'object', 'object']);
    for (const { problem, repair } of found.problems) {
      expect(problem).toMatch(/set aside.*needed by template t/);
      expect(repair).toBe('templatefs verify --repair');
    }
    expect(found.stderr).toMatch(/container c1 has broken objects open 1 time/);
    // No new open, and no read through the page cache of the root.
    expect(await agent.errno('open', join(root, 'usr/lib/library'), 0)).toBe('EIO');
    expect(await agent.errno('open', join(root, 'usr/bin/tool'), 0)).toBe('EIO');
    expect(await agent.errno('pread', page, 5, 0)).toBe('EIO');
    // In a container that was not mounted then, neither; all other files can be read.
    const other = await store.mount('c2');
    expect(await agent.errno('open', join(other, 'usr/bin/tool'), 0)).toBe('EIO');
    expect(await agent.get(join(other, 'etc/hosts'))).toBe('hosts\n');
    // It may be replaced.
    await agent.put(join(other, 'usr/bin/tool'), 'my own\n');
    expect(await agent.get(join(other, 'usr/bin/tool'))).toBe('my own\n');
    // A second check knows.
    expect((await verify(store)).problems.map(({ problem }) => problem)).toEqual(Array(3).fill(expect.stringContaining('set aside since')));

    const mended = await verify(store, '--repair');
    expect(mended, mended.stderr).toMatchObject({ status: 0, problems: [] });
    expect(mended.repaired).toHaveLength(3);
    expect(await agent.get(join(root, 'usr/lib/library'))).toBe(LIBRARY);
    expect(await agent.read(library, LIBRARY.length)).toBe(LIBRARY);
    expect(await agent.mapRead(mapped, 8, 4000)).toBe('library\n');
    expect(await agent.read(page, PAGE.length)).toBe(PAGE);
    expect(await agent.get(join(root, 'usr/bin/tool'))).toBe(TOOL);
    expect(await agent.get(join(other, 'usr/bin/tool'))).toBe('my own\n');
    expect(readdirSync(join(store.path, 'broken'))).toEqual([]);
    expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
    await store.expectSound();
  });

  test('without passthrough', async () => {
    const root = await store.mount('c1', '--no-passthrough');
    const fd = await agent.open(join(root, 'usr/lib/library'));
    expect(await agent.read(fd, LIBRARY.length)).toBe(LIBRARY);
    flipByte(objectOf(store, LIBRARY), 100);
    expect((await verify(store)).status).toBe(12);
    expect(await agent.errno('pread', fd, 100, 0)).toBe('EIO');
    expect((await verify(store, '--repair')).status).toBe(0);
    expect(await agent.read(fd, LIBRARY.length)).toBe(LIBRARY);
  });

  test('under a worker that was killed in between', async () => {
    const root = await store.mount('c1');
    const fd = await agent.open(join(root, 'usr/lib/library'));
    flipByte(objectOf(store, LIBRARY), 100);
    expect((await verify(store)).status).toBe(12);
    await store.killWorker('c1');
    expect(await agent.errno('open', join(root, 'usr/lib/library'), 0)).toBe('EIO');
    expect((await verify(store, '--repair')).status).toBe(0);
    expect(await agent.read(fd, LIBRARY.length)).toBe(LIBRARY);
    expect(await agent.get(join(root, 'usr/lib/library'))).toBe(LIBRARY);
  });

  test('in a file of which a container has changed a block', async () => {
    await store.ok('umount', 'c1');
    const large = 'block\n'.repeat(400_000);
    writeFileSync(join(source, 'usr/lib/large'), large);
    await store.ok('template', 'import', 'large', source);
    await store.ok('create', 'c3', '--ostemplate', 'large');
    const root = await store.mount('c3');
    const fd = await agent.open(join(root, 'usr/lib/large'), 2);
    await agent.write(fd, 'MINE', 1_000_000);
    flipByte(objectOf(store, large), 2_000_000);
    expect((await verify(store)).status).toBe(12);
    expect(await agent.errno('pread', fd, 10, 2_000_000)).toBe('EIO');
    expect((await verify(store, '--repair')).status).toBe(0);
    expect(await agent.read(fd, 4, 1_000_000)).toBe('MINE');
    expect(await agent.read(fd, 60, 1_999_980)).toBe(large.slice(1_999_980, 2_000_040));
  });

  test('verify --dry-run only reports it', async () => {
    const object = objectOf(store, LIBRARY);
    flipByte(object, 5);
    expect(await verify(store, '--dry-run')).toMatchObject({ status: 12, problems: [{ kind: 'object', name: objectName(object) }] });
    expect(existsSync(object)).toBe(true);
    expect(existsSync(join(store.path, 'broken'))).toBe(false);
    await store.refuses(['verify', '--repair', '--dry-run'], { status: 2, code: 'USAGE', message: /exclude/ });
    await store.refuses(['verify', '--source', source], { status: 2, code: 'USAGE', message: /--repair/ });
  });
});

describe('where lost content comes from', () => {
  /** Nothing else is left of where the template came from. */
  function forgetSource(): void {
    rmSync(source, { recursive: true });
  }

  test.each([
    ['cut short', (path: string) => { truncateSync(path, 1000); }],
    ['empty', (path: string) => { truncateSync(path, 0); }],
    ['missing', (path: string) => { rmSync(path); }],
    ['a folder', (path: string) => {
      rmSync(path);
      mkdirSync(path);
    }],
  ])('an object that is %s: from a private file of any container', async (_what, damage) => {
    forgetSource();
    const root = await store.mount('c2');
    await agent.put(join(root, 'srv/mine'), LIBRARY);
    await agent.put(join(root, 'srv/other'), LIBRARY.replace('library', 'forgery'));
    const object = objectOf(store, LIBRARY);
    const before = statSync(object);
    damage(object);
    expect((await verify(store)).status).toBe(12);
    const mended = await verify(store, '--repair');
    expect(mended, mended.stderr).toMatchObject({ status: 0, repaired: [{ kind: 'object', name: objectName(object) }] });
    expect(readFileSync(object, 'latin1')).toBe(LIBRARY);
    expect(statSync(object)).toMatchObject({ mode: before.mode, uid: 0, gid: 0, nlink: 1 });
    const other = await store.mount('c1');
    expect(await agent.get(join(other, 'usr/lib/library'))).toBe(LIBRARY);
  });

  test('a forged content with the right fingerprint and size would not be taken: only its SHA-256 proves it', async () => {
    forgetSource();
    const object = objectOf(store, LIBRARY);
    flipByte(object, 1);
    await verify(store);
    // As if the forgery had the fingerprint of what was lost: it is offered under the name that it would have.
    const forged = LIBRARY.replace('library', 'forgery');
    const root = await store.mount('c2');
    await agent.put(join(root, 'srv/forged'), forged);
    const still = await verify(store, '--repair');
    expect(still).toMatchObject({ status: 12, repaired: [] });
    expect(still.problems[0]?.repair).toContain('--source');
    expect(existsSync(object)).toBe(false);
  });

  test('an archive or a folder that is named, and nothing else of it is taken', async () => {
    const archive = await packTar(source, scratch.path('source.tar'));
    const before = store.sharedFiles();
    forgetSource();
    const [library, page] = [objectOf(store, LIBRARY), objectOf(store, PAGE)];
    flipByte(library, 1);
    rmSync(page);
    const more = scratch.makeFolder('more');
    writeFileSync(join(more, 'new'), 'this is new');
    writeFileSync(join(more, 'page'), PAGE);
    expect((await verify(store, '--repair')).problems).toHaveLength(2);
    const half = await verify(store, '--repair', '--source', more);
    expect(half.repaired.map(({ name }) => name)).toEqual([objectName(page)]);
    expect(half.problems.map(({ name }) => name)).toEqual([objectName(library)]);
    expect((await verify(store, '--repair', '--source', archive)).status).toBe(0);
    expect([...store.sharedFiles().keys()]).toEqual([...before.keys()]);
    for (const [path, now] of store.sharedFiles()) expect(now.split(' ')[0], path).toBe(before.get(path)?.split(' ')[0]);
    await store.refuses(['verify', '--repair', '--source', '/nonexistent'], { status: 1, code: 'FAILED', message: /nonexistent/ });
  });

  test('a template that is imported again', async () => {
    flipByte(objectOf(store, LIBRARY), 1);
    await verify(store);
    await store.ok('template', 'import', 'again', source);
    await store.expectSound();
  });

  test('a tree: from what its template came from', async () => {
    const [digest = ''] = readdirSync(join(store.path, 'trees'));
    const tree = join(store.path, 'trees', digest);
    flipByte(tree, 5000);
    expect((await verify(store)).problems.map(({ kind }) => kind)).toContain('tree');
    const mended = await verify(store, '--repair');
    expect(mended, mended.stderr).toMatchObject({ status: 0 });
    expect(mended.repaired).toContainEqual(expect.objectContaining({ kind: 'tree', name: digest }));
    rmSync(tree);
    const again = await verify(store, '--repair');
    expect(again, JSON.stringify(again)).toMatchObject({ status: 0 });
    await store.expectSound();
  });

  test('sums that are broken or missing: from the objects', async () => {
    const [digest = ''] = readdirSync(join(store.path, 'sums'));
    const sums = join(store.path, 'sums', digest);
    const whole = readFileSync(sums);
    flipByte(sums, 40);
    expect((await verify(store)).problems).toMatchObject([{ kind: 'sums', name: digest }]);
    expect((await verify(store, '--repair')).repaired).toMatchObject([{ kind: 'sums' }]);
    expect(readFileSync(sums)).toEqual(whole);
    rmSync(sums);
    await store.expectSound();
    await verify(store, '--repair');
    expect(readFileSync(sums)).toEqual(whole);
  });

  test('mode and owner of an object', async () => {
    const object = objectOf(store, LIBRARY);
    execFileSync('chmod', ['644', object]);
    execFileSync('chown', ['7:7', object]);
    expect((await verify(store)).status).toBe(12);
    expect((await verify(store, '--repair')).status).toBe(0);
    expect(statSync(object)).toMatchObject({ mode: 0o100400, uid: 0, gid: 0 });
  });
});

describe('private areas and the catalog', () => {
  test('a broken node xattr: only that entry is named, and it is mended where nothing can be lost', async () => {
    const root = await store.mount('c1');
    await agent.put(join(root, 'srv/mine'), 'my own\n');
    await agent.call('mkdir', join(root, 'srv/folder'));
    await agent.call('chmod', join(root, 'usr/lib/library'), 0o600);
    const area = join(store.path, 'private/c1/root');
    expect(set(join(area, 'srv/mine')).length).toBeGreaterThan(0);
    await store.ok('umount', 'c1');
    for (const path of ['srv/mine', 'srv/folder', 'usr/lib/library']) execFileSync('setfattr', ['-h', '-n', 'trusted.templatefs.node', '-v', 'garbage', join(area, path)]);
    const found = await verify(store);
    expect(found.problems.map(({ kind, name, problem }) => `${kind} ${name} ${problem.slice(0, problem.indexOf(':'))}`).sort()).toEqual([
      'container c1 /srv/folder', 'container c1 /srv/mine', 'container c1 /usr/lib/library',
    ]);
    await store.mount('c1');
    const busy = await verify(store, '--repair');
    expect(busy.problems).toHaveLength(3);
    await store.ok('umount', 'c1');
    const mended = await verify(store, '--repair');
    // What a folder or a link was cannot be told from what is left.
    expect(mended.repaired).toHaveLength(1);
    expect(mended.problems.map(({ problem }) => problem.slice(0, problem.indexOf(':'))).sort()).toEqual(['/srv/folder', '/usr/lib/library']);
    for (const { repair } of mended.problems) expect(repair).toContain('private/c1');
    expect(await agent.get(join(await store.mount('c1'), 'srv/mine'))).toBe('my own\n');
  });

  test('a link whose object is gone or has another size', async () => {
    const root = await store.mount('c1');
    await agent.call('chmod', join(root, 'usr/lib/library'), 0o600);
    await store.ok('umount', 'c1');
    const object = objectOf(store, LIBRARY);
    rmSync(object);
    expect((await verify(store, '--dry-run')).problems).toMatchObject([{ kind: 'object', name: objectName(object), problem: expect.stringMatching(/missing/) as string }]);
    expect((await verify(store, '--repair')).status).toBe(0);
    await store.expectSound();
  });

  test('rows and records that do not agree', async () => {
    await store.ok('template', 'import', 'u', source, '--shared-path', '/srv');
    rmSync(join(store.path, 'templates/t'));
    writeFileSync(join(store.path, 'templates/u'), 'garbage');
    const catalog = join(store.path, 'catalog.sqlite');
    execFileSync(process.execPath, ['-e', `new (require('better-sqlite3'))(process.argv[1]).exec("DELETE FROM containers WHERE name = 'c2'")`, catalog]);
    expect((await verify(store)).problems.map(({ kind, name }) => `${kind} ${name}`).sort()).toEqual(['container c2', 'template t', 'template u']);
    const mended = await verify(store, '--repair');
    expect(mended, JSON.stringify(mended.problems)).toMatchObject({ status: 0 });
    expect(mended.repaired).toHaveLength(3);
    expect(((await store.json('list')) as { name: string }[]).map(({ name }) => name)).toEqual(['c1', 'c2']);
    await store.expectSound();
  });

  test('a catalog that cannot be read: verify --repair makes a new one first', async () => {
    const before = await store.json('list');
    writeFileSync(join(store.path, 'catalog.sqlite'), 'garbage'.repeat(1000));
    flipByte(objectOf(store, TOOL), 3);
    const mended = await verify(store, '--repair');
    expect(mended, JSON.stringify(mended.problems)).toMatchObject({ status: 0 });
    expect(mended.repaired.map(({ kind }) => kind)).toEqual(['catalog', 'object']);
    expect(await store.json('list')).toEqual(before);
  });
});

/** Sends SIGINT when the process has an object open, so that it is in the middle of it. */
async function interruptWhileReading(child: ChildProcess): Promise<void> {
  const folder = `/proc/${child.pid ?? 0}/fd`;
  const isReading = (): boolean => readdirSync(folder).some((fd) => {
    try {
      return readlinkSync(join(folder, fd)).includes('/objects/');
    } catch {
      return false;
    }
  });
  while (child.exitCode === null && !isReading()) await sleep(20);
  child.kill('SIGINT');
}

describe('the scrub', () => {
  test('reads every byte, at a rate, and can be interrupted within one file', async () => {
    const { bytesChecked, objectsChecked } = await verify(store, '--rate', '100M');
    expect([objectsChecked, bytesChecked]).toEqual([4, LIBRARY.length + TOOL.length + PAGE.length + 6]);
    writeFileSync(join(source, 'huge'), Buffer.alloc(8 << 20, 'huge'));
    await store.ok('template', 'import', 'huge', source);
    // At this rate the largest file alone would take most of an hour.
    const ended = await store.run(['--json', 'verify', '--rate', '4K'], { onStart: (child) => void interruptWhileReading(child) });
    expect(ended.status, ended.stderr).toBe(130);
    expect(ended.stderr).toContain('INTERRUPTED');
  });
});
