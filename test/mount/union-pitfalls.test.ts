// What file systems that join folders in user space often get wrong, each point held against a plain file system.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Agent, O_RDONLY } from '../support/agent.js';
import { PYTHON, supportFile } from '../support/project.js';
import { buildRoot, compareTrees, packTar, unpackTar } from '../support/roots.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/** Names that are looked up without being there. The memory that they may cost is far below what one would cost each. */
const MISSING_NAMES = 1_000_000;
const OPENING_PROCESSES = 4;
/** Together more than the 20,000 descriptors that an engine may have on common hosts. */
const OPENED_BY_EACH = 8_000;
const TOPS = ['usr/lib', 'data'];

const scratch = useScratch();
const store = scratch.makeStore();
const template = scratch.path('template');

let count = 0;
let name = '';
let root = '';

async function observe(scenario: string, folder: string, ...options: string[]): Promise<unknown> {
  const script = [supportFile('union_pitfalls.py'), scenario, folder, ...options];
  return JSON.parse(await runOk(PYTHON, script, { timeoutMs: 300_000 })) as unknown;
}

/** Resident memory of the worker, its own and its share of the engine's state. */
function workerKilobytes(): number {
  const status = readFileSync(`/proc/${store.workerPid(name)}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
}

beforeAll(async () => {
  await store.make(await buildRoot(template));
});
beforeEach(async () => {
  name = `c${++count}`;
  await store.ok('create', name, '--ostemplate', 't');
  root = await store.mount(name);
});
afterEach(async () => {
  await store.ok('umount', name);
  await store.ok('destroy', name);
});

describe.each(TOPS)('in %s a root does as a plain file system does', (top) => {
  test.each([
    ['names and paths that are too long are ENAMETOOLONG', 'long_names', ''],
    ['every name of a file shows what was done through another', 'hard_links', ''],
    ['open files and folders without names have no links', 'open_and_unlinked', ''],
    ['set-group-id and default ACLs are inherited by whatever makes a name', 'inheritance', ''],
    ['what is done to a symlink into the root itself does not follow it', 'symlinks_into_itself', ''],
    ['direct and asynchronous I/O', 'direct_io', ''],
    ['stores through mappings are in the file after msync', 'mappings', ''],
    ['rm -rf removes everything after random changes by many threads', 'busy_then_removed', '400'],
    ['ctime and the mtime of folders move on', 'ctimes', ''],
    ['seekdir goes back to each place while names come and go', 'seeking', ''],
    ['trees of 1,100 levels are made, moved and removed', 'deep_trees', '1100'],
  ])('%s', { timeout: 120_000 }, async (_what, scenario, number) => {
    const plain = scratch.path('plain');
    await runOk('cp', ['-a', template, plain]);
    const options = number === '' ? [] : [number];
    const wanted = await observe(scenario, join(plain, top), ...options);
    expect(await observe(scenario, join(root, top), ...options)).toEqual(wanted);
    await runOk('rm', ['-rf', plain]);
    // The next engine finds on the host what this one left there.
    const before = scratch.path('before');
    await runOk('cp', ['-a', join(root, top), before]);
    root = await store.remount(name);
    expect((await compareTrees(before, join(root, top))).differences).toBe('');
    await runOk('rm', ['-rf', before]);
    await store.expectSound();
  });
});

test('an archive unpacked over the template has the times that are in it', async () => {
  const archive = await packTar(template, scratch.path('t.tar'));
  await runOk('touch', [join(template, 'data/file'), join(template, 'usr/lib/folder')]);
  const newer = await packTar(template, scratch.path('newer.tar'));
  for (const source of [newer, archive]) {
    await unpackTar(source, root);
    const plain = scratch.makeFolder('plain');
    await unpackTar(source, plain);
    const { differences, entries } = await compareTrees(plain, root);
    expect(differences).toBe('');
    expect(entries).toBeGreaterThan(600);
    await runOk('rm', ['-rf', plain]);
  }
});

test('a file handle of another mount opens nothing, also when its number is in use again', async () => {
  let agent = new Agent();
  const made = async (path: string): Promise<unknown> => {
    await agent.put(join(root, path), path);
    return { hex: await agent.call('handle', join(root, path)) };
  };
  try {
    const first = await made('data/first');
    const fd = (await agent.call('openhandle', root, first, O_RDONLY)) as number;
    expect(await agent.read(fd)).toBe('data/first');
    await agent.end();
    root = await store.remount(name);
    agent = new Agent();
    for (let i = 0; i < 20; i += 1) await made(`data/other-${i}`);
    expect(await agent.errno('openhandle', root, first, O_RDONLY)).toBe('ESTALE');
  } finally {
    await agent.end();
  }
});

test('32,000 files open at once cost the engine no descriptors', { timeout: 900_000 }, async () => {
  const limit = `ulimit -n ${OPENED_BY_EACH + 100} && exec "$@"`;
  const command = ['-c', limit, 'sh', PYTHON, supportFile('union_pitfalls.py'), 'open_at_once', join(root, 'data'), String(OPENED_BY_EACH)];
  const children = Array.from({ length: OPENING_PROCESSES }, () => spawn('sh', command, { stdio: ['pipe', 'pipe', 'inherit'] }));
  const ended = children.map((child) => new Promise((resolve) => child.once('close', resolve)));
  try {
    const readers = children.map((child) => createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    const next = async (): Promise<unknown[]> =>
      Promise.all(readers.map(async (reader) => JSON.parse(String((await reader.next()).value)) as unknown));
    expect(await next()).toEqual(children.map(() => ({ open: OPENED_BY_EACH, linked: OPENED_BY_EACH })));
    expect(readdirSync(`/proc/${store.workerPid(name)}/fd`).length).toBeLessThan(1_200);
    await store.killWorker(name);
    for (const child of children) child.stdin.end();
    expect(await next()).toEqual(children.map(() => ({ written: Math.ceil((OPENED_BY_EACH - 1) / 3) })));
    expect(await Promise.all(ended)).toEqual(children.map(() => 0));
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
});

test('a million look-ups of names that are not there cost no memory', { timeout: 300_000 }, async () => {
  await observe('missing', join(root, 'data'), '1000');
  const before = workerKilobytes();
  expect(await observe('missing', join(root, 'data'), String(MISSING_NAMES))).toEqual({ found: 0 });
  expect(workerKilobytes() - before).toBeLessThan(8_192);
});

test('rm -rf of 100,000 entries of the template and as many new ones, and of a tree of it with 1,100 levels', { timeout: 300_000 }, async () => {
  const source = scratch.path('large');
  mkdirSync(join(source, 'data'), { recursive: true });
  const script = `
import os, sys
os.chdir(sys.argv[1])
os.mkdir('crowded')
for i in range(100_000): os.mknod(f'crowded/{i}')
os.makedirs('folder/deeper')
os.chdir('folder')
for _ in range(1100):
    os.mkdir('level-of-tree')
    os.chdir('level-of-tree')
os.mknod('leaf')`;
  await runOk(PYTHON, ['-c', script, join(source, 'data')]);
  await store.ok('template', 'import', 'large', source);
  const large = `${name}-large`;
  await store.ok('create', large, '--ostemplate', 'large');
  const top = join(await store.mount(large), 'data');
  const seen = await observe('removed_at_once', top, '100000');
  expect(seen).toEqual({ listed: 100_000, rm: '', left: [] });
  // Moved from its middle, so that it is half the template's and half private.
  const chain = Array.from({ length: 200 }, () => 'level-of-tree').join('/');
  await runOk('mv', [join(top, 'folder', chain), join(top, 'moved')]);
  const levels = async (folder: string): Promise<number> => (await runOk('find', [join(top, folder), '-name', 'level-of-tree'])).split('\n').length - 1;
  expect([await levels('folder'), await levels('moved')]).toEqual([199, 900]);
  const removed = await runProgram('rm', ['-rf', join(top, 'folder'), join(top, 'moved')]);
  expect(removed).toMatchObject({ status: 0, stderr: '' });
  expect(readdirSync(top)).toEqual([]);
  await store.remount(large);
  expect(readdirSync(top)).toEqual([]);
  await store.ok('umount', large);
  await store.ok('destroy', large);
});
