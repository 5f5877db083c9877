import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { controlRequest, type ControlReply } from '../../src/engine/control-client.js';
import { MountHelper } from '../support/mount-helper.js';
import { PYTHON, supportFile } from '../support/project.js';
import { changeOf, kernelVersion, readBaseline, writeBaseline, type RequestCounts } from '../support/round-trip-baseline.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * How many requests the kernel sends for a fixed piece of work. A round trip costs far more than what the engine does in it, so these
 * counts say more about speed than times do, and they are exact: a changed count is a changed engine.
 *
 *   npm run baseline:round-trips      writes test/baselines/round-trips.json anew, after a change that is meant
 */

const WRITE = process.env['TEMPLATEFS_WRITE_BASELINE'] !== undefined;
/** Sent when the kernel finds the time, or for an interrupted client. */
const NOT_COUNTED = new Set(['forget', 'batch_forget', 'interrupt', 'destroy']);
/** The kernel may have dropped a name meanwhile, for want of memory: only what is found each time counts. */
const TRIES = 3;
const FILES = 100;
/** Each of these is written to the disk before the next. */
const COPIED = 20;
const END_WAIT_MS = 60_000;

const scratch = useScratch();
const store = scratch.makeInProcessStore();
const baseline = readBaseline();
const measured: Record<string, RequestCounts> = {};
let helper: MountHelper;
let archive = '';
let programs: Record<string, string> = {};
let containers = 0;

interface Scenario {
  readonly name: string;
  /** What is done on the root of a container that has just been mounted. */
  readonly run: (root: string) => Promise<unknown>;
  /** Done before, and then mounted anew. */
  readonly prepare?: (root: string) => Promise<unknown>;
  /** The one whose version counts. */
  readonly program?: string;
  readonly slack?: RequestCounts;
}

/** Attributes of a file that was just made hold for 10 ms (native/ops/open.cc): a client that is made to wait for longer asks again. */
const WAITS = { getattr: 10 };

const client = (scenario: string, folder: string, count = FILES) => (root: string): Promise<string> =>
  runOk(PYTHON, [supportFile('round_trips.py'), scenario, join(root, folder), String(count)]);

const GIT_ENVIRONMENT = { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_OPTIONAL_LOCKS: '0', LC_ALL: 'C', GIT_AUTHOR_DATE: '2026-01-01T00:00:00Z', GIT_COMMITTER_DATE: '2026-01-01T00:00:00Z' };
const gitStatus = (root: string): Promise<string> => runOk('git', ['-C', join(root, 'data/repo'), 'status', '--porcelain'], { env: GIT_ENVIRONMENT });

const SCENARIOS: readonly Scenario[] = [
  { name: 'stat, cold', run: client('stat', 'usr/files') },
  { name: 'stat of names that are not there, twice', run: client('missing', 'usr/files') },
  { name: 'open+read+close, shared path, cold', run: client('read', 'usr/files') },
  { name: 'open+read+close, shared path, again', run: async (root) => { await client('read', 'usr/files')(root); await client('read', 'usr/files')(root); } },
  { name: 'open+read+close, elsewhere, cold', run: client('read', 'data/files') },
  { name: 'readlink, twice', run: async (root) => { await client('symlinks', 'data/links')(root); await client('symlinks', 'data/links')(root); } },
  { name: 'readdir, twice', run: client('readdir', 'usr/files') },
  { name: 'create+write+close', run: client('create', 'data/empty'), slack: WAITS },
  { name: 'overwrite, template files', run: client('overwrite', 'data/files', COPIED) },
  { name: 'rename, template files', run: client('rename', 'data/files') },
  { name: 'unlink, template files', run: client('unlink', 'data/files') },
  { name: 'unlink, own files', prepare: client('overwrite', 'data/files', COPIED), run: client('unlink', 'data/files', COPIED) },
  { name: 'find -type f', run: (root) => runOk('find', [root, '-xdev', '-type', 'f', '-size', '+1c']), program: 'find' },
  { name: 'chmod -R', run: (root) => runOk('chmod', ['-R', 'go-w,u+x', join(root, 'usr/files')]), program: 'chmod' },
  { name: 'tar x', run: (root) => runOk('tar', ['-xf', archive, '-C', join(root, 'data/empty')]), program: 'tar', slack: WAITS },
  {
    name: 'git status, cold',
    prepare: (root) => runOk('git', ['-C', join(root, 'data/repo'), 'status', '--porcelain'], { env: { ...GIT_ENVIRONMENT, GIT_OPTIONAL_LOCKS: '1' } }),
    run: gitStatus,
    program: 'git',
  },
];

/** The folder that becomes the template: nothing of it depends on the day or the machine. */
async function buildTemplate(folder: string): Promise<void> {
  for (const name of ['usr/files', 'data/files', 'data/links', 'data/empty', 'data/repo/src']) mkdirSync(join(folder, name), { recursive: true });
  for (let number = 0; number < FILES; number += 1) {
    const name = `f${String(number).padStart(3, '0')}`;
    for (const place of ['usr/files', 'data/files', 'data/repo/src']) writeFileSync(join(folder, place, name), `${place} ${number}\n`.repeat(100));
    symlinkSync(`../files/${name}`, join(folder, 'data/links', name));
  }
  const git = (...args: string[]): Promise<string> =>
    runOk('git', ['-C', join(folder, 'data/repo'), '-c', 'user.name=Test', '-c', 'user.email=test@example.com', ...args], { env: GIT_ENVIRONMENT });
  await git('init', '-q', '-b', 'main', '--template=');
  await git('add', '.');
  await git('commit', '-q', '-m', 'all');
}

async function status(container: string): Promise<ControlReply> {
  return controlRequest(join(store.path, 'run', container, 'control'), ['status'], { timeoutMs: 30_000 });
}

function countsIn(reply: ControlReply): Record<string, number> {
  return Object.fromEntries(
    [...reply].flatMap(([key, value]) => (key.startsWith('op.') && !NOT_COUNTED.has(key.slice(3)) ? [[key.slice(3), Number(value)]] : [])),
  );
}

/** The counts when nothing comes any more: a RELEASE is sent after close(2) has returned. */
async function settledCounts(container: string): Promise<Record<string, number>> {
  let last = '';
  const deadline = performance.now() + 30_000;
  for (;;) {
    await sleep(15);
    const reply = await status(container);
    const counts = countsIn(reply);
    const text = JSON.stringify(counts);
    if (text === last && reply.get('opens') === '0') return counts;
    if (performance.now() > deadline) throw new Error(`${container} has open files: ${text}`);
    last = text;
  }
}

async function unmount(container: string, root: string): Promise<void> {
  const holder = Number(store.engineFile(container).get('holder'));
  await runOk('umount', [root]);
  const deadline = performance.now() + END_WAIT_MS;
  while (existsSync(`/proc/${holder}`)) {
    if (performance.now() > deadline) throw new Error(`the engine ${holder} of ${container} has not ended`);
    await sleep(2);
  }
}

/** What the scenario costs on a container of its own that was mounted just now. */
async function measure(scenario: Scenario): Promise<RequestCounts> {
  const container = `c${(containers += 1)}`;
  await store.ok('create', container, '--ostemplate', 't');
  const root = scratch.makeFolder(container);
  const mount = async (): Promise<void> => {
    const ended = await helper.run(store.path, container, root);
    if (ended.status !== 0) throw new Error(ended.stderr);
  };
  if (scenario.prepare !== undefined) {
    await mount();
    await scenario.prepare(root);
    await settledCounts(container);
    await unmount(container, root);
  }
  await mount();
  const before = await settledCounts(container);
  await scenario.run(root);
  const after = await settledCounts(container);
  await unmount(container, root);
  const costs: Record<string, number> = {};
  for (const [name, count] of Object.entries(after).sort()) {
    if (count !== before[name]) costs[name] = count - (before[name] ?? 0);
  }
  return costs;
}

beforeAll(async () => {
  helper = new MountHelper(scratch);
  const folder = scratch.makeFolder('template');
  await buildTemplate(folder);
  archive = scratch.path('files.tar');
  await runOk('tar', ['-cf', archive, '--owner=0', '--group=0', '--sort=name', '-C', join(folder, 'usr'), 'files']);
  await store.make(folder);
  programs = Object.fromEntries(await Promise.all(['find', 'chmod', 'tar', 'git'].map(async (name) => [name, (await runOk(name, ['--version'])).split('\n')[0] ?? ''] as const)));
});

afterAll(() => {
  if (!WRITE) return;
  // What was left out by a filter stays as it was.
  const all = SCENARIOS.flatMap(({ name }) => {
    const counts = measured[name] ?? baseline.scenarios[name];
    return counts === undefined ? [] : [[name, counts] as const];
  });
  writeBaseline({ kernel: kernelVersion(), programs, scenarios: Object.fromEntries(all) });
});

describe('the number of requests', () => {
  test.each(SCENARIOS)('$name', async (scenario) => {
    const wanted = baseline.scenarios[scenario.name];
    const sameProgram = scenario.program === undefined || baseline.programs[scenario.program] === programs[scenario.program];
    const exact = baseline.kernel === kernelVersion() && sameProgram;
    let change: string | undefined;
    for (let round = 0; round < TRIES; round += 1) {
      const found = await measure(scenario);
      if (WRITE) {
        // Twice the same, or it is no baseline.
        const before = measured[scenario.name];
        change = before === undefined ? 'measured only once' : changeOf(before, found, true, scenario.slack);
        if (change === undefined) return;
        measured[scenario.name] = found;
        continue;
      }
      change = changeOf(wanted ?? {}, found, exact, scenario.slack);
      if (change === undefined) return;
    }
    expect.fail(`${scenario.name}: ${change ?? ''}. If that is meant: npm run baseline:round-trips`);
  });

  test('a baseline that has more scenarios than this file is an old one', () => {
    if (!WRITE) expect(Object.keys(baseline.scenarios).sort()).toEqual(SCENARIOS.map(({ name }) => name).sort());
  });
});

describe('the comparison', () => {
  test('says what has changed by how much; other kernels are given a margin', () => {
    const wanted = { LOOKUP: 100, OPEN: 100 };
    expect(changeOf(wanted, { OPEN: 100, LOOKUP: 100 }, true)).toBeUndefined();
    expect(changeOf(wanted, { LOOKUP: 100, OPEN: 101 }, true)).toBe('OPEN 100 -> 101 (+1), in all 200 -> 201 (+1)');
    expect(changeOf(wanted, { LOOKUP: 90, GETATTR: 4 }, true)).toBe('GETATTR 0 -> 4 (+4), LOOKUP 100 -> 90 (-10), OPEN 100 -> 0 (-100), in all 200 -> 94 (-106)');
    expect(changeOf(wanted, { LOOKUP: 103, OPEN: 100 }, true, { LOOKUP: 3 })).toBeUndefined();
    expect(changeOf(wanted, { LOOKUP: 104, OPEN: 99 }, true, { LOOKUP: 3, OPEN: 3 })).toBe('LOOKUP 100 -> 104 (+4), OPEN 100 -> 99 (-1), in all 200 -> 203 (+3)');
    expect(changeOf(wanted, { LOOKUP: 100, OPEN: 110 }, false)).toBeUndefined();
    expect(changeOf(wanted, { LOOKUP: 200, OPEN: 100 }, false)).toBe('in all 200 -> 300 (+100)');
  });
});
