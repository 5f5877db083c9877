import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildDeb, DebRepository } from '../support/deb-repository.js';
import type { PackageContent } from '../support/package-content.js';
import { CLI } from '../support/project.js';
import { runProgram, type Ended } from '../support/run-program.js';
import type { Scratch } from '../support/scratch.js';
import { useSigningKeys } from '../support/signing-key.js';
import type { TestStore } from '../support/test-store.js';

/*
 * Transactions that are replayed: docs/installer.md. The package's script notes when it ran and what it has read, so that it shows whether
 * it ran in a container, and what it would have found there.
 */

/** Kills of one run: one in CI, more by `npm run test:installer -- --kills N`, which also runs what takes longer. */
const KILLS = Number(process.env['TEMPLATEFS_INSTALLER_KILLS'] ?? 1);
const isLong = process.env['TEMPLATEFS_INSTALLER_KILLS'] !== undefined;
const MINUTES = 60_000;

interface Changed {
  readonly transaction: number;
  readonly replayed: boolean;
  readonly addedBytes: number;
  readonly linkedBytes: number;
}

/** @param template a Debian template of the store */
export function replayCases(scratch: Scratch, store: TestStore, template: string): void {
  const definitions = scratch.path('replay-definitions');
  const debs = scratch.path('replay-debs');
  const env = { TEMPLATEFS_TEMPLATES: definitions };
  const run = (...args: string[]): Promise<Ended> => store.run(args, { env, timeoutMs: 5 * MINUTES });
  const ok = async (...args: string[]): Promise<Changed> => {
    const ended = await run('--json', ...args);
    expect(ended.status, ended.stderr).toBe(0);
    return JSON.parse(ended.stdout) as Changed;
  };
  const exec = async (container: string, script: string): Promise<string> => (await store.run(['exec', container, '--no-network', '--', 'sh', '-c', script])).stdout.trim();
  const create = (...names: string[]): Promise<unknown> => Promise.all(names.map((name) => store.ok('create', name, '--ostemplate', template)));
  const noted = (container: string): Promise<string> => exec(container, 'cat /usr/share/noted/1 /etc/noted; dpkg --verify; dpkg --audit; stat -c "%i %s %n" /usr/share/noted/1 | cut -d" " -f2-');
  const records = (): string[] => (existsSync(join(store.path, 'cache/replays')) ? readdirSync(join(store.path, 'cache/replays')) : []);

  const notes: PackageContent = {
    name: 'noted', version: '1.0',
    files: Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`/usr/share/noted/${index}`, `noted ${index} `.repeat(300)])),
    scripts: { afterInstall: 'mkdir -p /var/lib/noted; { date +%s%N; cat /srv/input 2>/dev/null || echo none; } > /etc/noted', beforeRemove: 'rm -f /etc/noted' },
  };
  const secret: PackageContent = { name: 'secret', version: '1.0', scripts: { afterInstall: 'umask 077; head -c 16 /dev/urandom > /var/lib/secret' } };

  describe('replays', { timeout: 6 * MINUTES }, () => {
    const makeKey = useSigningKeys(scratch);

    beforeAll(async () => {
      const key = await makeKey('replays');
      mkdirSync(debs);
      for (const content of [notes, secret]) await buildDeb(debs, content);
      const repository = new DebRepository(scratch.makeFolder('replay-repository'));
      await repository.publish({ packages: [notes, secret].map(({ name, version }) => join(debs, `${name}_${version}_all.deb`)), key });
      const os = join(definitions, template, 'os/default');
      mkdirSync(os, { recursive: true });
      const lines = { package_manager: 'apt', distribution: 'debian', packages: 'base-files', repositories: repository.line(), keys: key.keyring };
      for (const [name, text] of Object.entries(lines)) writeFileSync(join(os, name), `${text}\n`);
      await create('p1', 'p2', 'p3', 'p4');
    }, 2 * MINUTES);

    test('what was done in one container is put into others that are as it was; their own files stay', async () => {
      await exec('p2', 'echo mine > /root/mine; mkdir -p /srv/data; echo motd > /etc/motd');
      const before = new Set(records());
      const first = await ok('install', 'p1', '-p', 'noted');
      expect(first.replayed).toBe(false);
      expect(records().filter((name) => !before.has(name))).toHaveLength(1);
      const second = await ok('install', 'p2', '-p', 'noted');
      expect(second).toMatchObject({ replayed: true, addedBytes: 0, linkedBytes: first.linkedBytes });
      // The script ran once.
      expect(await noted('p2')).toBe(await noted('p1'));
      expect(await exec('p2', 'cat /root/mine /etc/motd; ls -d /srv/data; dpkg-query -W -f \'${Status}\' noted')).toBe('mine\nmotd\n/srv/data\ninstall ok installed');
      // One page cache for both: the content is one object.
      const [one, two] = await Promise.all(['p1', 'p2'].map(async (container) => JSON.parse((await store.run(['--json', 'explain', container, '/usr/share/noted/7'])).stdout || '{}') as { object?: { id: string } }));
      expect(one?.object?.id).toMatch(/^[0-9a-f]{32}/);
      expect(two?.object).toEqual(one?.object);
    });

    test('what the script reads is another in this container: it runs there', async () => {
      await exec('p3', 'echo other > /srv/input');
      expect((await ok('install', 'p3', '-p', 'noted')).replayed).toBe(false);
      expect(await noted('p3')).toContain('other');
      // Nobody asks for a replay, and a mounted container has processes that scripts may have to tell of it.
      expect((await ok('install', 'p4', '-p', 'noted', '--no-replay')).replayed).toBe(false);
      await ok('rollback', 'p4');
      await store.mount('p4');
      expect((await ok('install', 'p4', '-p', 'noted')).replayed).toBe(false);
      await ok('rollback', 'p4');
      await store.ok('umount', 'p4');
    });

    test('it can be rolled back, and removed', async () => {
      await ok('rollback', 'p2');
      expect(await exec('p2', 'cat /root/mine; ls /usr/share/noted /etc/noted 2>/dev/null; dpkg -l noted 2>/dev/null | grep ^ii')).toBe('mine');
      expect((await ok('install', 'p2', '-p', 'noted')).replayed).toBe(true);
      await ok('remove', 'p2', '-p', 'noted');
      expect(await exec('p2', 'cat /root/mine; ls /usr/share/noted /etc/noted 2>/dev/null; dpkg --audit')).toBe('mine');
    });

    test('secrets are in no record', async () => {
      const before = records();
      const keys: string[] = [];
      for (const container of ['p2', 'p4']) {
        expect((await ok('install', container, '-p', 'secret')).replayed).toBe(false);
        keys.push(await exec(container, 'od -An -tx1 /var/lib/secret'));
      }
      expect(keys[0]).not.toBe(keys[1]);
      expect(records()).toEqual(before);
      for (const container of ['p2', 'p4']) await ok('rollback', container);
    });

    if (isLong) test('a record that is broken, or names an object that is gone, costs time only', async () => {
      for (const name of records()) {
        const file = join(store.path, 'cache/replays', name);
        const bytes = readFileSync(file);
        bytes.writeUInt8(bytes.readUInt8(bytes.length - 9) ^ 1, bytes.length - 9);
        writeFileSync(file, bytes);
      }
      expect((await ok('install', 'p4', '-p', 'noted')).replayed).toBe(false);
      await ok('rollback', 'p4');
      // All who had the objects are gone.
      for (const container of ['p1', 'p3']) await ok('rollback', container);
      await run('snapshot', 'remove', 'p2', '--all');
      expect((await run('gc')).status).toBe(0);
      const again = await ok('install', 'p4', '-p', 'noted');
      expect(await noted('p4')).toContain('none');
      await ok('rollback', 'p4');
      if (!again.replayed) expect((await ok('install', 'p4', '-p', 'noted')).replayed).toBe(true);
      else await ok('install', 'p4', '-p', 'noted');
      await ok('rollback', 'p4');
    });

    if (isLong) test('whoever was in the container meanwhile keeps it from being recorded', async () => {
      rmSync(join(store.path, 'cache/replays'), { recursive: true });
      const installing = ok('install', 'p4', '-p', 'noted');
      const deadline = performance.now() + MINUTES;
      while (statSync(join(store.path, 'run/p4/entered'), { throwIfNoEntry: false }) === undefined && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
      await exec('p4', 'echo meddling > /srv/meddling');
      expect((await installing).replayed).toBe(false);
      expect(statSync(join(store.path, 'cache/replays'), { throwIfNoEntry: false })).toBeUndefined();
      await ok('rollback', 'p4', '--force');
    });

    test(`killed at any point it is as before or as after (${KILLS} kills)`, { timeout: (2 + KILLS) * MINUTES }, async () => {
      await exec('p4', 'rm -f /srv/meddling');
      if (isLong) await ok('install', 'p1', '-p', 'noted');
      await create('k2');
      const after = await noted('p1');
      let killed = 0;
      let tookMs = 0;
      for (let round = 0; killed < KILLS && round < KILLS * 6; round++) {
        const before = await noted('k2');
        const from = performance.now();
        expect((await ok('install', 'k2', '-p', 'noted')).replayed).toBe(true);
        tookMs = performance.now() - from;
        await ok('rollback', 'k2');
        const delayMs = Math.random() * tookMs;
        const ended = await runProgram(CLI, ['--store', store.path, 'install', 'k2', '-p', 'noted'], { env, onStart: (child) => setTimeout(() => child.kill('SIGKILL'), delayMs) });
        if (ended.signal === 'SIGKILL') killed += 1;
        const found = await noted('k2');
        expect([before, after], `killed after ${Math.round(delayMs)} ms`).toContain(found);
        if (found === after) await ok('rollback', 'k2');
      }
      expect(killed).toBeGreaterThanOrEqual(KILLS);
      for (const container of ['p1', 'p2', 'p3', 'p4', 'k2']) await store.ok('destroy', container);
      await store.expectSound();
    });
  });
}
