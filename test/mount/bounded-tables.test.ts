// A container does everything that it can do in its root very often. The engine's memory and descriptors stay within the bounds that
// docs/security.md states, and what goes beyond them is an error to that container. `npm run test:bounds` does each a million times.

import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ENGINE, PYTHON, supportFile } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const COUNT = Number(process.env['TEMPLATEFS_BOUNDS_COUNT'] ?? 2500);
const IS_LONG = COUNT > 100_000;
/** Above this the engine asks the kernel to forget; a multiple of it is the end. Small, so that a short run comes there. */
const MAX_NODES = IS_LONG ? 100_000 : 1000;
const HARD_LIMIT_FACTOR = 4;
/** native/inode/root.h: kKeptBackings. */
const KEPT_BACKINGS = 16_384;
const TIMEOUT_MS = IS_LONG ? 3_600_000 : 120_000;
/** What a Node with its name and its places in two hash tables takes, with room for half-used tables. */
const NODE_BYTES = 256;
/** Folders and files that the engine keeps open for itself, and what it needs besides. */
const MOST_DESCRIPTORS = 512 + 2 * 512 + 64;

const scratch = useScratch();
let template = '';

beforeAll(async () => {
  template = await buildRoot(scratch.path('template'));
});

interface Held {
  readonly nodes: number;
  readonly stateBytes: number;
  readonly ownBytes: number;
  readonly descriptors: number;
  readonly backings: number;
}

async function lookAt(store: TestStore, container: string): Promise<Held> {
  const status = await controlStatus(store, container);
  const pid = store.workerPid(container);
  const maps = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const kilobytes = (map: string, field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(map)?.[1] ?? 0);
  const isState = (map: string): boolean => map.includes('templatefs-engine-state');
  return {
    nodes: Number(status.get('nodes')),
    backings: Number(status.get('backings')),
    stateBytes: maps.filter(isState).reduce((sum, map) => sum + kilobytes(map, 'Rss') * 1024, 0),
    ownBytes: maps.filter((map) => !isState(map)).reduce((sum, map) => sum + kilobytes(map, 'Private_Dirty') * 1024, 0),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

async function controlStatus(store: TestStore, container: string): Promise<Map<string, string>> {
  const script =
    'import socket,struct,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nb=b"status\\0"\ns.sendall(struct.pack("<I",len(b))+b)\n' +
    'd=b""\nwhile True:\n  p=s.recv(65536)\n  if not p: break\n  d+=p\nsys.stdout.write(d[4:].replace(b"\\0",b"\\n").decode())';
  const text = await runOk(PYTHON, ['-c', script, join(store.path, 'run', container, 'control')]);
  return new Map(text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

async function exhaust(verb: string, root: string, count: number): Promise<string> {
  return runOk(PYTHON, [supportFile('exhaust.py'), verb, root, String(count)], { timeoutMs: TIMEOUT_MS });
}

/** Opens files, runs `look` while they are open, and closes them. */
async function whileHolding<T>(root: string, count: number, look: () => Promise<T>): Promise<T> {
  const child = spawn(PYTHON, [supportFile('exhaust.py'), 'hold', root, String(count)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => {
        resolve();
      });
      child.once('exit', () => {
        reject(new Error('the files could not be held open'));
      });
    });
    return await look();
  } finally {
    child.stdin.end('\n');
    expect(await ended).toBe(0);
  }
}

describe('what a container does very often', () => {
  test('costs its engine no more than is documented', { timeout: 8 * TIMEOUT_MS }, async () => {
    const store = scratch.makeStore();
    await store.make(template, 'c1');
    const root = await store.mountEngine('c1', '--max-nodes', String(MAX_NODES));
    const before = await lookAt(store, 'c1');
    for (const verb of ['missing', 'xattrs', 'locks', 'links', 'files', 'look', 'opens', 'list']) {
      // The kernel keeps the locks of a file in a list, which it goes through for each new one.
      await exhaust(verb, root, verb === 'locks' ? Math.min(COUNT, 5000) : COUNT);
      const after = await lookAt(store, 'c1');
      if (IS_LONG) process.stdout.write(`${verb} ${COUNT}: ${JSON.stringify(after)}\n`);
      // Nobody holds any of them, so the kernel forgets them when it is asked to.
      expect(after.nodes, verb).toBeLessThan(MAX_NODES * 2);
      expect(after.stateBytes, verb).toBeLessThan(2_000_000 + MAX_NODES * HARD_LIMIT_FACTOR * NODE_BYTES);
      expect(after.ownBytes, verb).toBeLessThan(before.ownBytes + 16_000_000);
      expect(after.descriptors, verb).toBeLessThan(MOST_DESCRIPTORS);
      expect(after.backings, verb).toBeLessThan(KEPT_BACKINGS + 600);
    }
    await store.ok('umount', 'c1');
  });

  test('files open at once cost the engine no descriptors', { timeout: TIMEOUT_MS }, async () => {
    const store = scratch.makeStore();
    await store.make(template, 'c1');
    const count = Math.min(COUNT, 24_000);
    for (const option of [['--no-passthrough'], []]) {
      const root = await store.mountEngine('c1', '--max-nodes', String(MAX_NODES * 10), ...option);
      await exhaust('files', root, count);
      const held = await whileHolding(root, count, () => lookAt(store, 'c1'));
      expect(held.nodes).toBeGreaterThanOrEqual(count);
      expect(held.descriptors).toBeLessThan(MOST_DESCRIPTORS);
      expect(await exhaust('missing', root, 100)).toMatch(/done/);
      await store.ok('umount', 'c1');
    }
  });

  test('at the end of the engine\'s room there is ENOMEM, and room again when something is let go', { timeout: TIMEOUT_MS }, async () => {
    const store = scratch.makeStore();
    await store.make(template, 'c1', 'c2');
    const root = await store.mountEngine('c1', '--max-nodes', '100');
    const other = await store.mount('c2');
    const said = await exhaust('until-refused', root, 900);
    expect(said).toMatch(/^ENOMEM (3\d\d|400)\ndone\n$/);
    await exhaust('files', other, 100);
    await store.ok('umount', 'c1');
    await store.ok('umount', 'c2');
  });

  test('a very deep folder: commands go through it with few descriptors, and it can be destroyed', { timeout: TIMEOUT_MS }, async () => {
    const store = scratch.makeStore();
    await store.make(template, 'c1');
    const root = await store.mountEngine('c1');
    const depth = IS_LONG ? 30_000 : 600;
    await exhaust('deep', root, depth);
    expect((await lookAt(store, 'c1')).descriptors).toBeLessThan(MOST_DESCRIPTORS);
    // As few as 64 descriptors; the paths of what no program can name are shown with their middle left out.
    const scan = await runOk('bash', ['-c', 'ulimit -n 64; exec "$0" scan --store "$1" --container c1', ENGINE, store.path]);
    const paths = scan.split('\0\0').map((record) => record.split('\0')[1] ?? '').filter((path) => path.includes('ddd'));
    expect(paths).toHaveLength(depth + 1);
    expect(Math.max(...paths.map((path) => path.length))).toBeLessThanOrEqual(8192 + 256);
    expect(paths.at(-1)?.endsWith('/bottom')).toBe(true);
    expect((await store.info('c1')).privateFiles).toBe(1);
    await store.expectSound();
    await store.ok('umount', 'c1');
    await store.ok('destroy', 'c1');
  });
});
