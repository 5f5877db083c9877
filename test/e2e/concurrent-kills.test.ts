// Twenty commands at once on one store, of all kinds, while commands, workers and holders are killed at random. Whatever was
// killed, the commands after it must find a store that is whole and tidy. `npm run test:concurrent -- --minutes N` goes on for
// longer than `npm test`.

import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { makeMiniDebian, type MiniDebian } from '../support/mini-debian.js';
import { buildRoot, packTar } from '../support/roots.js';
import type { Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const PARALLEL = 20;
const SECONDS = Number(process.env['TEMPLATEFS_CONCURRENT_SECONDS'] ?? 0);
const CONTAINERS = ['c0', 'c1', 'c2', 'c3', 'c4', 'c5'];
const TEMPLATES = ['t1', 't2'];
/** In these packages are changed, in the longer form; they have another template. */
const WITH_PACKAGES = SECONDS > 0 ? ['p0', 'p1', 'p2'] : [];
/** Made with an app, or not at all. */
const WITH_APP = 'a0';
/** A command that others keep from its lock for so long says BUSY. */
const WAIT_S = 20;
/** So many of the commands are killed, at any time of this. */
const KILLED_SHARE = 0.35;
const KILL_WITHIN_MS = 1500;
/** A command that has not ended by then hangs. */
const HANG_MS = 120_000;

const scratch = useScratch();
let archive = '';
let otherArchive = '';
let hasGc = false;

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('template')), scratch.path('root.tar'));
  otherArchive = await packTar(await buildRoot(scratch.path('other')), scratch.path('other.tar'));
});

function pick<T>(all: readonly T[]): T {
  const one = all[Math.floor(Math.random() * all.length)];
  if (one === undefined) throw new Error('nothing to pick from');
  return one;
}

interface Command {
  readonly args: readonly string[];
  /** Where packages come from. */
  readonly repository?: 'old' | 'new';
}

/** Commands, each as often as its share of the list. */
function drawCommand(distribution: MiniDebian | undefined): Command {
  return distribution !== undefined && Math.random() < 0.25 ? drawChange(distribution.template) : { args: drawOther() };
}

function drawChange(template: string): Command {
  const ct = pick(WITH_PACKAGES);
  return pick<Command>([
    { args: ['install', ct, 'tool'], repository: 'old' },
    { args: ['install', ct, 'tool', '--no-replay'], repository: 'old' },
    { args: ['install', WITH_PACKAGES.join(','), 'tool'], repository: 'old' },
    { args: ['update', ct], repository: 'new' },
    { args: ['remove', ct, 'tool'], repository: 'old' },
    { args: ['rollback', ct] },
    { args: ['link', ct] },
    { args: ['mount', ct] },
    { args: ['umount', ct, '--force'] },
    { args: ['snapshot', ct] },
    { args: ['create', WITH_APP, '--ostemplate', template, '--apptemplate', 'tool'], repository: 'old' },
    { args: ['destroy', WITH_APP, '--force'] },
  ]);
}

function drawOther(): string[] {
  const ct = pick(CONTAINERS);
  const template = pick(TEMPLATES);
  const all = [
    ['template', 'import', template, pick([archive, otherArchive])],
    ['template', 'import', template, pick([archive, otherArchive])],
    ['template', 'remove', template],
    ['create', ct, '--ostemplate', pick(['t', 't', ...TEMPLATES])],
    ['create', ct, '--ostemplate', 't'],
    ['create', ct, '--ostemplate', 't'],
    ['mount', ct],
    ['mount', ct],
    ['mount', ct],
    ['exec', ct, '--', '/bin/sh', '-c', '/bin/echo text > /data/new; /bin/cat /data/new'],
    ['exec', ct, '--', '/bin/sh', '-c', '/bin/rm -rf /data; /bin/mkdir /data; /bin/cp /bin/busybox /data/copy'],
    // What other containers may have, too; and what nobody has.
    ['exec', ct, '--', '/bin/sh', '-c', '/bin/busybox mkdir -p /data; /bin/busybox head -c 200000 /bin/busybox > /data/part; /bin/echo $$ > /data/own'],
    ['link', '--all'],
    ['link', '--all'],
    ['link', ct],
    ['link', '--all', '--dry-run'],
    ['umount', ct],
    ['umount', ct, '--force'],
    ['destroy', ct],
    ['destroy', ct, '--force'],
    ['info', ct],
    ['diff', ct],
    ['list'],
    ['stats'],
    ...(hasGc ? [['gc'], ['gc']] : []),
  ];
  return pick(all);
}

interface Run {
  readonly args: readonly string[];
  readonly ended: Ended;
  readonly killed: boolean;
}

/** Runs commands, and kills some of them. */
class Running {
  readonly killed = new Set<ChildProcess>();

  async run(store: TestStore, { args, repository }: Command, distribution: MiniDebian | undefined): Promise<Run> {
    let own: ChildProcess | undefined;
    const ended = await store.run(['--json', '--wait', String(WAIT_S), ...args], {
      timeoutMs: HANG_MS,
      ...(distribution !== undefined && { env: distribution.environment(repository ?? 'old') }),
      onStart: (child) => {
        own = child;
        if (Math.random() > KILLED_SHARE) return;
        const timer = setTimeout(() => {
          this.killed.add(child);
          child.kill('SIGKILL');
        }, 50 + Math.random() * KILL_WITHIN_MS);
        child.once('exit', () => {
          clearTimeout(timer);
        });
      },
    });
    return { args, ended, killed: own !== undefined && this.killed.has(own) };
  }
}

function enginePids(store: TestStore): number[] {
  const run = join(store.path, 'run');
  if (!existsSync(run)) return [];
  return readdirSync(run).flatMap((container) => {
    try {
      const file = store.engineFile(container);
      return [Number(file.get('worker')), Number(file.get('worker')), Number(file.get('holder'))];
    } catch {
      return []; // it has just ended
    }
  });
}

/** Kills a process if it is one of this store's. */
function killOf(store: TestStore, pid: number): boolean {
  try {
    if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(store.path)) return false;
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

interface Kills {
  commands: number;
  engines: number;
}

async function killEngines(store: TestStore, kills: Kills, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    await sleep(50 + Math.random() * 300);
    const pids = enginePids(store);
    if (pids.length > 0 && killOf(store, pick(pids))) kills.engines += 1;
  }
}

/** What each command may say when others work on the same things, and engines die under it. */
const RIGHT_CODES = new Set([
  'BUSY', 'CONTAINER_EXISTS', 'CONTAINER_NOT_FOUND', 'CONTAINER_MOUNTED', 'TEMPLATE_EXISTS', 'TEMPLATE_NOT_FOUND', 'TEMPLATE_IN_USE',
  'ENGINE_FAILED', 'FUSE_UNAVAILABLE', 'PARTIAL',
]);
/** apt and dpkg whose root dies under them fail in their own words. */
const RIGHT_CODES_OF_CHANGES = new Set([...RIGHT_CODES, 'PACKAGE_MANAGER_FAILED']);

function expectRightAnswer({ args, ended, killed }: Run): void {
  if (killed) return;
  const said = `templatefs ${args.join(' ')}: ${ended.signal ?? String(ended.status)}\n${ended.stderr}`;
  expect(ended.stderr, said).not.toMatch(/this was not expected|did not end within/);
  expect(ended.signal, said).toBeNull();
  if (ended.status === 0 || args[0] === 'exec') return;
  if (args[0] === 'gc' && ended.status === 3) {
    // What an engine that was just killed needs is not known: its container is named, and all is kept.
    const { kept } = JSON.parse(ended.stdout) as { kept: { name: string }[] };
    expect(kept, said).not.toEqual([]);
    return;
  }
  if (args[0] === 'install' && ended.status === 3) {
    const { failed } = JSON.parse(ended.stdout) as { failed: { code: string }[] };
    for (const { code } of failed) expect(RIGHT_CODES_OF_CHANGES, said).toContain(code);
    return;
  }
  if (args[0] === 'link' && ended.status === 3) {
    // Containers that others work on are named, and left alone.
    const { failed } = JSON.parse(ended.stdout) as { failed: { container: string; reason: string }[] };
    expect(failed, said).not.toEqual([]);
    return;
  }
  const last = ended.stderr.trim().split('\n').at(-1) ?? '';
  expect(last, said).toMatch(/^\{"error"/);
  const { error } = JSON.parse(last) as { error: { code: string; message: string } };
  if (args[0] === 'rollback' && error.code === 'FAILED') {
    expect(error.message, said).toMatch(/has no transaction to undo|is kept no more|were changed since|could not be undone yet|could not be put back while it is mounted/);
    return;
  }
  expect(['install', 'update', 'remove', 'rollback', 'create'].includes(args[0] ?? '') ? RIGHT_CODES_OF_CHANGES : RIGHT_CODES, said).toContain(error.code);
}

/** Each has the packages wholly in one version or not at all, and its package manager agrees. */
async function expectWholePackages(store: TestStore): Promise<void> {
  if (WITH_PACKAGES.length === 0) return;
  // What looks only does not put right what was cut short.
  await store.ok('--wait', '60', 'umount', 'p0', '--force');
  const names = ((await store.json('list')) as { name: string }[]).map(({ name }) => name);
  for (const name of names.filter((one) => one === WITH_APP || WITH_PACKAGES.includes(one))) {
    const found = await store.ok('--wait', '60', 'exec', name, '--no-network', '--', 'sh', '-c', LOOK);
    expect(name === WITH_APP ? WHOLE.slice(1, 2) : WHOLE, `${name}: ${found}`).toContain(found);
  }
}

const LOOK = "dpkg --audit; dpkg --verify; dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' | grep -v -e mini-base -e config-files; ls /usr/share/tool 2>/dev/null | wc -l; tool 2>/dev/null; ls /usr/sbin/policy-rc.d 2>/dev/null; :";
const WHOLE = ['0', ...['1.0', '2.0'].map((version) => `tool ${version} installed\ntool-data ${version} installed\n65\ntool ${version}`)];

/** One more command for each thing clears away what the killed ones left; then nothing of them is there. */
async function expectTidy(store: TestStore): Promise<void> {
  const names = ((await store.json('list')) as { name: string }[]).map(({ name }) => name);
  for (const name of names) await store.ok('--wait', '60', 'umount', name, '--force');
  for (const name of [...CONTAINERS, WITH_APP].filter((one) => !names.includes(one))) {
    await store.ok('--wait', '60', 'create', name, '--ostemplate', 't');
    await store.ok('--wait', '60', 'destroy', name);
  }
  for (const name of TEMPLATES) {
    const removed = await store.run(['--wait', '60', 'template', 'remove', name]);
    expect([0, 10, 11, 1], removed.stderr).toContain(removed.status);
  }
  // Imports sweep what others left in staging/.
  await store.ok('--wait', '60', 'template', 'import', 'last', archive);
  await store.ok('--wait', '60', 'template', 'remove', 'last');
  await store.expectSound();
  expect(scratch.mounts().filter(({ mountpoint }) => mountpoint.startsWith(store.path))).toEqual([]);
  const deadline = performance.now() + 10_000;
  const left = (): { command: string }[] => scratch.processes().filter(({ command }) => command.includes(store.path));
  while (left().length > 0 && performance.now() < deadline) await sleep(50);
  expect(left()).toEqual([]);
  expect(readdirSync(join(store.path, 'staging'))).toEqual([]);
  expect(readdirSync(join(store.path, 'private')).filter((name) => name !== '.snapshots').sort()).toEqual([...names].sort());
  const run = join(store.path, 'run');
  const engines = readdirSync(run).filter((name) => !name.startsWith('.'));
  expect(engines.filter((name) => !names.includes(name))).toEqual([]);
  expect(engines.flatMap((name) => readdirSync(join(run, name)).filter((file) => file !== 'log').map((file) => `${name}/${file}`))).toEqual([]);
}

async function oneRound(store: TestStore, distribution: MiniDebian | undefined, kills: Kills): Promise<number> {
  const running = new Running();
  let over = false;
  const killer = killEngines(store, kills, () => over);
  const before = store.sharedFiles();
  let count = 0;
  try {
    await Promise.all(
      Array.from({ length: PARALLEL }, async () => {
        for (let i = 0; i < 2; i += 1) {
          expectRightAnswer(await running.run(store, drawCommand(distribution), distribution));
          count += 1;
        }
      }),
    );
  } finally {
    over = true;
    await killer;
  }
  kills.commands += running.killed.size;
  await expectWholePackages(store);
  await expectTidy(store);
  const after = store.sharedFiles();
  // What nobody referred to any more may have been swept, and made anew: then at another time.
  const withoutTime = (file: string): string => file.slice(0, file.lastIndexOf(' '));
  for (const [path, file] of before) expect(withoutTime(after.get(path) ?? file), path).toBe(withoutTime(file));
  return count;
}

test('twenty commands at once, and kills: the next commands find a whole store and leave it tidy', { timeout: (SECONDS + 300) * 1000 }, async () => {
  const store = scratch.makeStore();
  await store.make(archive, 'c0', 'c1');
  const distribution = WITH_PACKAGES.length > 0 ? await makeMiniDebian(scratch, store) : undefined;
  for (const name of WITH_PACKAGES) await store.ok('create', name, '--ostemplate', distribution?.template ?? '');
  hasGc = /^  gc\b/m.test(await store.ok('--help'));
  const kills: Kills = { commands: 0, engines: 0 };
  let rounds = 0;
  let commands = 0;
  const end = performance.now() + SECONDS * 1000;
  do {
    commands += await oneRound(store, distribution, kills);
    rounds += 1;
  } while (performance.now() < end);
  expect(kills.commands + kills.engines).toBeGreaterThan(0);
  if (SECONDS > 0) process.stdout.write(`concurrent: ${rounds} rounds, ${commands} commands, ${kills.commands} commands and ${kills.engines} engine processes killed\n`);
});
