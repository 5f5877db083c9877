import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

/*
 * What the worker of a mounted root may do, as the kernel tells it from outside: docs/security.md. What it cannot do is tried
 * from inside in native/session/confine_test.cc.
 */
const CAPABILITIES = { chown: 0, dac_override: 1, dac_read_search: 2, fowner: 3, fsetid: 4, linux_immutable: 9, sys_admin: 21, mknod: 27, lease: 28, setfcap: 31 };
const MASK = Object.values(CAPABILITIES).reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

const scratch = useScratch();
const store = scratch.makeStore();
let worker = 0;
let holder = 0;

function statusOf(pid: number): Record<string, string> {
  return Object.fromEntries(
    readFileSync(`/proc/${pid}/status`, 'utf8')
      .split('\n')
      .filter((line) => line.includes(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
}

/** A file as it is known over all mounts of its file system. */
const identity = (path: string): string => {
  const { dev, ino } = statSync(path, { bigint: true });
  return `${dev}:${ino}`;
};

describe('the worker of a root', () => {
  beforeAll(async () => {
    await store.make(await buildRoot(scratch.path('template')), 'c1', 'c2');
    await store.ok('mount', 'c1');
    worker = (await store.info('c1')).enginePid as number;
    holder = Number(statusOf(worker)['PPid']);
  });
  afterAll(async () => {
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test('has the capabilities that its work takes, in every set, and gets no others', () => {
    const status = statusOf(worker);
    const all = BigInt(`0x${statusOf(process.pid)['CapBnd']}`);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) expect(BigInt(`0x${status[set]}`), set).toBe(MASK & all);
    for (const set of ['CapInh', 'CapAmb']) expect(BigInt(`0x${status[set]}`), set).toBe(0n);
    expect(status).toMatchObject({ NoNewPrivs: '1', Seccomp: '2', Seccomp_filters: '1' });
  });

  test('has the private area as its root folder, and of folders only what it serves', () => {
    const area = join(store.path, 'private/c1');
    expect(identity(`/proc/${worker}/root/.`)).toBe(identity(area));
    expect(identity(`/proc/${worker}/cwd/.`)).toBe(identity('/proc'));
    const allowed = new Set([
      ...['', 'root', 'inodes', 'staging'].map((name) => join(area, name)),
      join(store.path, 'objects'),
      join(store.path, 'run/c1/empty'),
      '/proc',
    ].map(identity));
    const descriptors = readdirSync(`/proc/${worker}/fd`).map((fd) => `/proc/${worker}/fd/${fd}`);
    const folders = descriptors.filter((fd) => statSync(fd).isDirectory());
    expect(folders.length).toBeGreaterThan(3);
    for (const fd of folders) expect(allowed, `${fd} → ${readlinkSync(fd)}`).toContain(identity(fd));
  });

  test('has no file of the host open but the base tree, its log and its lock', () => {
    const tree = readdirSync(join(store.path, 'trees')).map((name) => join(store.path, 'trees', name));
    const log = join(store.path, 'run/c1/log');
    const allowed = new Set([...tree, log, ...readdirSync(join(store.path, 'private/c1')).map((name) => join(store.path, 'private/c1', name)), '/dev/null', '/dev/fuse'].map(identity));
    const descriptors = readdirSync(`/proc/${worker}/fd`).map((fd) => `/proc/${worker}/fd/${fd}`);
    for (const fd of descriptors.filter((path) => readlinkSync(path).startsWith('/') && !statSync(path).isDirectory())) {
      if (readlinkSync(fd).startsWith('/memfd:')) continue;
      expect(allowed, `${fd} → ${readlinkSync(fd)}`).toContain(identity(fd));
    }
  });

  test('is confined as well when it takes the place of a killed one', async () => {
    const before = statusOf(worker);
    process.kill(worker, 'SIGKILL');
    readFileSync(join((await store.info('c1')).root as string, 'usr/lib/hard-a'));
    const next = (await store.info('c1')).enginePid as number;
    expect(next).not.toBe(worker);
    expect(Number(statusOf(next)['PPid'])).toBe(holder);
    for (const field of ['CapPrm', 'CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp']) expect(statusOf(next)[field]).toBe(before[field]);
    expect(identity(`/proc/${next}/root/.`)).toBe(identity(join(store.path, 'private/c1')));
    worker = next;
  });
});
