import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { expectNothingHalfDone, runKilled } from '../support/killed-commands.js';
import { buildRoot, packTar } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

/** How often each command is killed. */
const ROUNDS = 15;

const scratch = useScratch();
let archive = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
});

describe('a command that is killed leaves nothing that the next one does not mend', () => {
  test.each(['SIGKILL', 'SIGTERM'] as const)('create and destroy, by %s', { timeout: 240_000 }, async (signal) => {
    const store = scratch.makeStore();
    await store.make(archive);
    const there = new Set<string>();
    for (let round = 0; round < ROUNDS; round += 1) {
      const name = `c${round}`;
      const made = await runKilled(store, ['create', name, '--ostemplate', 't'], 150, signal);
      if (signal === 'SIGTERM') expect([0, 130, null], made.stderr).toContain(made.status);
      const names = ((await store.json('list')) as { name: string }[]).map((container) => container.name);
      // One that said it was made is there; one that was killed is there or not.
      if (made.status === 0) expect(names).toContain(name);
      if (made.status === 130) expect(names).not.toContain(name);
      const again = await store.run(['create', name, '--ostemplate', 't']);
      expect([0, 1], again.stderr).toContain(again.status);
      if (again.status === 1) expect(again.stderr).toMatch(/there is a container/);
      there.add(name);
      if (round % 2 === 0) {
        await runKilled(store, ['destroy', name], 150, signal);
        const rest = await store.run(['destroy', name]);
        expect([0, 10], rest.stderr).toContain(rest.status);
        there.delete(name);
      }
    }
    await store.ok('create', 'last', '--ostemplate', 't');
    await expectNothingHalfDone(store, [...there, 'last']);
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)('snapshot, clone, restore and their removal, by %s', { timeout: 240_000 }, async (signal) => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    const file = join(store.path, 'root/c1/which');
    const which = async (): Promise<string> => {
      await store.mount('c1', '--wait', '10');
      const text = readFileSync(file, 'utf8');
      await store.ok('umount', 'c1', '--wait', '10');
      return text;
    };
    await store.mount('c1');
    writeFileSync(file, 'first');
    await store.ok('snapshot', 'c1', '--name', 'first');
    writeFileSync(file, 'second');
    await store.ok('umount', 'c1');
    await store.ok('snapshot', 'c1', '--name', 'second');
    let is = 'second';
    const clones = new Set<string>();
    for (let round = 0; round < ROUNDS / 3; round += 1) {
      const wanted = is === 'first' ? 'second' : 'first';
      const restored = await runKilled(store, ['restore', 'c1', wanted], 200, signal);
      const found = await which();
      expect(restored.status === 0 ? [wanted] : ['first', 'second']).toContain(found);
      is = found;
      const taken = await runKilled(store, ['snapshot', 'c1', '--name', `s${round}`], 200, signal);
      const cloned = await runKilled(store, ['clone', 'c1@first', `k${round}`], 200, signal);
      await runKilled(store, ['snapshot', 'remove', 'c1', `s${round - 1}`], 200, signal);
      const ids = ((await store.json('snapshot', 'list', 'c1')) as { id: string }[]).map(({ id }) => id);
      expect(ids).toEqual(expect.arrayContaining(['first', 'second', ...(taken.status === 0 ? [`s${round}`] : [])]));
      if (cloned.status === 0) clones.add(`k${round}`);
    }
    // What was killed half way is settled by the next command that writes.
    await store.ok('snapshot', 'c1', '--name', 'last');
    const there = ((await store.json('list')) as { name: string }[]).map(({ name }) => name);
    expect(there).toEqual(expect.arrayContaining(['c1', ...clones]));
    expect(readdirSync(join(store.path, 'private')).sort()).toEqual(['.snapshots', ...there].sort());
    expect(readdirSync(join(store.path, 'private/.snapshots/c1')).filter((name) => name.startsWith('.'))).toEqual([]);
    await store.expectSound();
    await runKilled(store, ['destroy', 'c1'], 200, signal);
    await store.run(['destroy', 'c1']);
    for (const name of there.filter((other) => other !== 'c1')) await store.ok('destroy', name);
    rmdirSync(join(store.path, 'private/.snapshots'));
    await expectNothingHalfDone(store, []);
  });

  test('template import', { timeout: 240_000 }, async () => {
    const store = scratch.makeStore();
    for (let round = 0; round < ROUNDS; round += 1) await runKilled(store, ['template', 'import', 't', archive], 700);
    const last = await store.run(['template', 'import', 't', archive]);
    expect([0, 1], last.stderr).toContain(last.status);
    if (last.status === 1) expect(last.stderr).toMatch(/there is a template/);
    await store.ok('template', 'import', 'other', archive);
    expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
    await store.ok('create', 'c1', '--ostemplate', 't');
    await expectNothingHalfDone(store, ['c1']);
    const templates = (await store.json('template', 'list')) as { tree: string }[];
    expect(new Set(templates.map(({ tree }) => tree)).size).toBe(1);
    expect(readdirSync(join(store.path, 'trees'))).toHaveLength(1);
  });

  test('an import that is interrupted says so and takes everything half made with it', async () => {
    const store = scratch.makeStore();
    let interrupted = 0;
    for (let round = 0; round < 6; round += 1) {
      const ended = await runKilled(store, ['template', 'import', `t${round}`, archive, '--json'], 500, 'SIGINT');
      if (ended.status === 130) {
        interrupted += 1;
        expect(JSON.parse(ended.stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({ error: { code: 'INTERRUPTED' } });
        expect(existsSync(join(store.path, 'staging')) ? readdirSync(join(store.path, 'staging')) : []).toEqual([]);
      } else expect([0, null], ended.stderr).toContain(ended.status);
    }
    expect(interrupted).toBeGreaterThan(0);
    await store.expectSound();
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)('mount and umount, by %s', { timeout: 240_000 }, async (signal) => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    for (let round = 0; round < ROUNDS; round += 1) {
      await runKilled(store, ['mount', 'c1'], 150, signal);
      const root = await store.mount('c1', '--wait', '10');
      expect(readdirSync(root)).toContain('bin');
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === root)).toHaveLength(1);
      await runKilled(store, ['umount', 'c1'], 150, signal);
      await store.ok('umount', 'c1', '--wait', '10');
      expect(scratch.mounts().filter(({ mountpoint }) => mountpoint === root)).toEqual([]);
    }
    await sleep(200);
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toEqual([]);
    await store.expectSound();
  });

  test('exec: the sandbox dies with it, whenever that is, and nothing is in the way', { timeout: 240_000 }, async () => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    const marker = `${store.path}-in-the-sandbox`;
    for (let round = 0; round < ROUNDS; round += 1) {
      let child: ChildProcess | undefined;
      const running = store.run(['exec', 'c1', '--', '/bin/sh', '-c', '/bin/sleep 20; /bin/sleep 1', marker], { onStart: (started) => { child = started; } });
      // While the sandbox is being set up, when each of its processes has just been made or is about to be.
      await expect.poll(() => scratch.processes().some(({ command }) => command.includes('bwrap') && command.includes(marker)), { timeout: 20_000, interval: 1 }).toBe(true);
      await sleep(Math.random() * 40);
      child?.kill('SIGKILL');
      await running;
      await expect.poll(() => scratch.processes().filter(({ command }) => command.includes(marker)), { timeout: 3_000 }).toEqual([]);
      const ended = await store.run(['exec', 'c1', '--wait', '10', '--', '/bin/echo', `round ${round}`]);
      expect(ended, ended.stderr).toMatchObject({ status: 0, stdout: `round ${round}\n` });
    }
    await store.ok('destroy', 'c1', '--wait', '10');
    expect(scratch.processes().filter(({ command }) => command.includes(store.path))).toEqual([]);
    expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
  });
});
