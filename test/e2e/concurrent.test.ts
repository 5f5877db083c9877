import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { PROJECT } from '../support/project.js';
import { buildRoot, packTar } from '../support/roots.js';
import { runOk, type Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const scratch = useScratch();
let archive = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
});

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** The codes of those that failed themselves; a command in the sandbox that loses its root fails in its own words. */
function codes(all: readonly Ended[]): string[] {
  const lines = all.filter(({ status }) => status !== 0).map(({ stderr }) => stderr.trim().split('\n').at(-1) ?? '');
  return lines.filter((line) => line.startsWith('{')).map((line) => (JSON.parse(line) as { error: { code: string } }).error.code);
}

/** Nothing of the machinery is left over. */
async function expectTidy(store: TestStore): Promise<void> {
  await store.expectSound();
  expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
  expect(readdirSync(join(store.path, 'private')).filter((name) => name.startsWith('.'))).toEqual([]);
  expect(readdirSync(join(store.path, 'run/.locks')).filter((name) => name.includes('.holder-'))).toEqual([]);
}

describe('several commands at once on one store', () => {
  test('imports of one archive under several names all succeed, and store it once', async () => {
    const store = scratch.makeStore();
    const all = await Promise.all(numbers(4).map((n) => store.run(['--json', 'template', 'import', `t${n}`, archive])));
    for (const { status, stderr } of all) expect(status, stderr).toBe(0);
    const added = all.map(({ stdout }) => JSON.parse(stdout) as { tree: string; newObjects: number; sharedObjects: number });
    expect(new Set(added.map(({ tree }) => tree)).size).toBe(1);
    const objects = [...store.sharedFiles().keys()].filter((path) => path.startsWith('objects/')).length;
    for (const { newObjects, sharedObjects } of added) expect(newObjects + sharedObjects).toBe(objects);
    expect(added.reduce((sum, { newObjects }) => sum + newObjects, 0)).toBe(objects);
    await expectTidy(store);
  });

  test('imports to one name: one is made, the others are told', async () => {
    const store = scratch.makeStore();
    const all = await Promise.all(numbers(4).map(() => store.run(['--json', 'template', 'import', 't', archive])));
    expect(all.filter(({ status }) => status === 0)).toHaveLength(1);
    for (const code of codes(all)) expect(['BUSY', 'TEMPLATE_EXISTS']).toContain(code);
    expect(await store.json('template', 'list')).toHaveLength(1);
    await expectTidy(store);
  });

  test('the first commands on a new store', async () => {
    const store = scratch.makeStore();
    const all = await Promise.all(numbers(6).map((n) => store.run(['--json', '--wait', '60', ...(n % 2 === 0 ? ['create', 'c', '--ostemplate', 'none'] : ['list'])])));
    for (const [n, { status, stderr }] of all.entries()) expect(status, stderr).toBe(n % 2 === 0 ? 10 : 0);
  });

  test('creates of one name: one is made, the others are told', async () => {
    const store = scratch.makeStore();
    await store.make(archive);
    for (let round = 0; round < 3; round += 1) {
      const all = await Promise.all(numbers(6).map(() => store.run(['--json', 'create', `c${round}`, '--ostemplate', 't'])));
      expect(all.filter(({ status }) => status === 0)).toHaveLength(1);
      for (const code of codes(all)) expect(['BUSY', 'CONTAINER_EXISTS']).toContain(code);
    }
    expect(await store.json('list')).toHaveLength(3);
    await expectTidy(store);
  });

  test('creates of many names that wait for one another all succeed', async () => {
    const store = scratch.makeStore();
    await store.make(archive);
    const all = await Promise.all(numbers(10).map((n) => store.run(['--json', '--wait', '60', 'create', `c${n}`, '--ostemplate', 't'])));
    for (const { status, stderr } of all) expect(status, stderr).toBe(0);
    const gone = await Promise.all(numbers(10).map((n) => store.run(['--json', '--wait', '60', 'destroy', `c${n}`])));
    for (const { status, stderr } of gone) expect(status, stderr).toBe(0);
    expect(await store.json('list')).toEqual([]);
    await expectTidy(store);
  });

  test('mounts of one container: one engine, one mount', async () => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    const root = join(store.path, 'root/c1');
    for (let round = 0; round < 3; round += 1) {
      const all = await Promise.all(numbers(5).map(() => store.run(['--json', 'mount', 'c1'])));
      const done = all.filter(({ status }) => status === 0).map(({ stdout }) => JSON.parse(stdout) as { root: string; already: boolean });
      expect(done.filter(({ already }) => !already)).toHaveLength(1);
      for (const mounted of done) expect(mounted.root).toBe(root);
      for (const code of codes(all)) expect(code).toBe('BUSY');
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === root)).toHaveLength(1);
      expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toHaveLength(2);
      const ended = await Promise.all(numbers(4).map(() => store.run(['--json', '--wait', '30', 'umount', 'c1'])));
      for (const { status, stderr } of ended) expect(status, stderr).toBe(0);
      expect(ended.filter(({ stdout }) => (JSON.parse(stdout) as { wasMounted: boolean }).wasMounted)).toHaveLength(1);
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === root)).toEqual([]);
    }
    await expectTidy(store);
  });

  test('mounts of many containers of one template', async () => {
    const store = scratch.makeStore();
    await store.make(archive, ...numbers(6).map((n) => `c${n}`));
    const all = await Promise.all(numbers(6).map((n) => store.run(['--wait', '30', 'mount', `c${n}`])));
    for (const { status, stderr } of all) expect(status, stderr).toBe(0);
    expect(((await store.json('list')) as { state: string }[]).filter(({ state }) => state === 'mounted')).toHaveLength(6);
    await store.json('stats');
    const ended = await Promise.all(numbers(6).map((n) => store.run(['--wait', '30', 'umount', `c${n}`])));
    for (const { status, stderr } of ended) expect(status, stderr).toBe(0);
    await expectTidy(store);
  });

  test('execs at once in a container that is not mounted share one mount, and take it away at the end', async () => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    for (let round = 0; round < 2; round += 1) {
      const all = await Promise.all(numbers(5).map((n) => store.run(['exec', 'c1', '--wait', '60', '--', '/bin/sh', '-c', `echo ${n} > /data/by-${n}; /bin/sleep 0.${n}; /bin/cat /data/by-${n}`])));
      for (const [n, { status, stdout, stderr }] of all.entries()) expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: `${n}\n` });
      expect((await store.info('c1')).state).toBe('stopped');
    }
    await expectTidy(store);
  });

  test('destroy against mount, exec and create: each gets a right answer', async () => {
    const store = scratch.makeStore();
    await store.make(archive);
    for (let round = 0; round < 6; round += 1) {
      await store.run(['create', 'c1', '--ostemplate', 't']);
      const commands = [['mount', 'c1'], ['destroy', 'c1', '--force'], ['create', 'c1', '--ostemplate', 't'], ['exec', 'c1', '--', '/bin/echo', 'x']];
      const all = await Promise.all(commands.map((command) => store.run(['--json', ...command])));
      const said = all.map(({ stderr }) => stderr).join('');
      for (const code of codes(all.slice(0, 3))) expect(['BUSY', 'CONTAINER_NOT_FOUND', 'CONTAINER_EXISTS', 'CONTAINER_MOUNTED'], said).toContain(code);
      // FAILED: the root was taken away from under the sandbox. ENGINE_FAILED: the engine was, before the sandbox was made.
      for (const code of codes(all.slice(3))) expect(['BUSY', 'CONTAINER_NOT_FOUND', 'FAILED', 'ENGINE_FAILED'], said).toContain(code);
      expect(said).not.toMatch(/this was not expected/);
      const left = ((await store.json('list')) as unknown[]).length;
      expect(readdirSync(join(store.path, 'private')).filter((name) => !name.startsWith('.'))).toHaveLength(left);
      await store.run(['destroy', 'c1', '--force', '--wait', '30']);
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
    }
    expect(await store.json('list')).toEqual([]);
    await expectTidy(store);
  });

  test('a lock whose file goes with its container is taken, or busy, and nothing else', async () => {
    const store = scratch.makeStore();
    const script = `
      import { acquireLock, removeLockFile } from '${PROJECT}dist/catalog/lock.js';
      import { StorePaths } from '${PROJECT}dist/core/store-paths.js';
      const [path, remove] = process.argv.slice(1);
      const paths = new StorePaths(path);
      const errors = {};
      let taken = 0;
      for (const end = Date.now() + 4000; Date.now() < end; ) {
        try {
          const lock = await acquireLock({ paths, name: 'container-c1', what: 'container c1', mode: 'exclusive', waitMs: 0 });
          taken += 1;
          if (remove === 'yes') removeLockFile(paths, 'container-c1');
          lock.release();
        } catch (error) {
          errors[error.code] = error.message;
        }
      }
      delete errors.BUSY;
      console.log(JSON.stringify({ taken, errors }));`;
    const all = await Promise.all(['yes', 'yes', 'no', 'no'].map((remove) => runOk(process.execPath, ['--input-type=module', '-e', script, store.path, remove])));
    const results = all.map((text) => JSON.parse(text) as { taken: number; errors: Record<string, string> });
    for (const { taken, errors } of results) {
      expect(errors).toEqual({});
      expect(taken).toBeGreaterThan(0);
    }
  });

  test('commands that read never fail while others write', async () => {
    const store = scratch.makeStore();
    await store.make(archive, 'stays');
    let writing = true;
    const writers = (async () => {
      for (let round = 0; round < 4; round += 1) {
        await store.ok('create', `c${round}`, '--ostemplate', 't');
        await store.ok('mount', `c${round}`);
        await store.ok('template', 'import', `t${round}`, archive);
        await store.ok('umount', `c${round}`);
        await store.ok('destroy', `c${round}`);
        await store.ok('template', 'remove', `t${round}`);
      }
      writing = false;
    })();
    const readers = [['list'], ['stats'], ['verify'], ['template', 'list'], ['info', 'stays']].map(async (command) => {
      while (writing) {
        const ended = await store.run(['--json', ...command]);
        expect(ended.status, `${command.join(' ')}: ${ended.stderr}${ended.stdout.slice(-500)}`).toBe(0);
      }
    });
    await Promise.all([writers.finally(() => { writing = false; }), ...readers]);
    await expectTidy(store);
  });
});
