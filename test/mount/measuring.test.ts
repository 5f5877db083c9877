import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, symlinkSync, unlinkSync, writeFileSync, chmodSync, copyFileSync, linkSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Statistics } from '../../src/service/statistics.js';
import { ENGINE } from '../support/project.js';
import { buildRpm } from '../support/rpm-repository.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * What `stats`, `du`, `explain`, `query` and `diff` say of real roots, beside what the host's own tools say: blocks by lstat(2), the
 * page cache by cachestat(2), sizes by a walk over the mounted root.
 */

const scratch = useScratch();
const store = scratch.makeInProcessStore();
const PROGRAM_BYTES = 2_000_000;
let roots: readonly string[] = [];

function put(root: string, path: string, content: string | Buffer): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), content);
}

function dpkgStatus(...packages: readonly (readonly [name: string, version: string])[]): string {
  return packages.map(([name, version]) => `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: ${version}\n`).join('\n');
}

/** All below a folder, itself included. */
function everythingIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return [folder, ...readdirSync(folder, { recursive: true, encoding: 'latin1' }).map((name) => join(folder, name))];
}

/** Blocks of some files, each inode once, as du(1) counts them. */
function blocksOf(paths: readonly string[]): number {
  const seen = new Map(paths.map((path) => [lstatSync(path).ino, lstatSync(path).blocks * 512]));
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function privateBytesOf(container: string): number {
  const area = join(store.path, 'private', container);
  return blocksOf([...everythingIn(join(area, 'root')), ...everythingIn(join(area, 'inodes')).slice(1)]);
}

/** Sizes of the regular files of a mounted root, each inode once. */
function shownBytesOf(root: string): number {
  const files = everythingIn(root).map((path) => lstatSync(path)).filter((stat) => stat.isFile());
  return [...new Map(files.map(({ ino, size }) => [ino, size])).values()].reduce((sum, size) => sum + size, 0);
}

function objectFiles(): string[] {
  return everythingIn(join(store.path, 'objects')).filter((path) => lstatSync(path).isFile());
}

async function residentBytes(files: readonly string[]): Promise<number> {
  const lines = await runOk(ENGINE, ['resident'], { input: files.map((file) => `${file}\0`).join('') });
  return lines.trim().split('\n').reduce((sum, line) => sum + Number(line), 0);
}

async function stats(...options: string[]): Promise<Statistics> {
  return (await store.json('stats', ...options)) as Statistics;
}

function ofContainer(statistics: Statistics, name: string): Statistics['containers'][number] {
  const found = statistics.containers.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no statistics of ${name}`);
  return found;
}

beforeAll(async () => {
  const folder = scratch.makeFolder('template');
  put(folder, 'usr/bin/prog', randomBytes(PROGRAM_BYTES));
  put(folder, 'srv/data', randomBytes(300_000));
  put(folder, 'etc/passwd', 'root:x:0:0\n');
  symlinkSync('usr/bin', join(folder, 'bin'));
  linkSync(join(folder, 'srv/data'), join(folder, 'srv/same'));
  put(folder, 'var/lib/dpkg/status', dpkgStatus(['openssl', '3.0.9-1'], ['old', '1']));
  put(folder, 'var/lib/dpkg/info/openssl.list', '/.\n/bin\n/bin/prog\n');
  put(folder, 'var/lib/dpkg/info/old.list', '/.\n/srv\n/srv/old\n');
  put(folder, 'srv/old', 'old');
  await store.make(folder, 'c1', 'c2', 'c3');
  roots = [await store.mount('c1'), await store.mount('c2')];
  const [first = '', second = ''] = roots;
  const own = randomBytes(500_000);
  put(first, 'srv/own', own);
  put(second, 'srv/also', own);
  chmodSync(join(first, 'etc/passwd'), 0o600);
  // As dpkg does it: the new file comes under another name, and is renamed.
  copyFileSync(join(first, 'usr/bin/prog'), join(first, 'usr/bin/prog.new'));
  renameSync(join(first, 'usr/bin/prog.new'), join(first, 'usr/bin/prog'));
  put(first, 'var/lib/dpkg/status', dpkgStatus(['openssl', '1:3.0.11~rc1-1']));
  unlinkSync(join(first, 'srv/old'));
  writeFileSync(join(second, 'srv/same'), 'changed under two names');
});

test('an exact count agrees with what the host’s own calls say', async () => {
  for (const root of roots) readFileSync(join(root, 'usr/bin/prog'));
  const found = await stats('--exact');
  expect(found.exact).toEqual({ agrees: true, differences: [] });
  for (const { name, privateBytes } of found.containers) expect(privateBytes, name).toBe(privateBytesOf(name));
  expect(ofContainer(found, 'c1').logicalBytes).toBe(shownBytesOf(roots[0] ?? ''));
  expect(ofContainer(found, 'c2').logicalBytes).toBe(shownBytesOf(roots[1] ?? ''));
  const { disk } = found;
  expect(disk.objectBytes).toBe(blocksOf(objectFiles()));
  expect(disk.treeBytes).toBe(blocksOf(everythingIn(join(store.path, 'trees')).slice(1)));
  expect(disk.storedBytes).toBe(disk.objectBytes + disk.treeBytes + disk.privateBytes + disk.snapshotBytes);
  for (const one of found.containers) expect(one.templateBytes + one.linkedBytes + one.ownBytes, one.name).toBe(one.logicalBytes);
  // Both that are mounted use every object of their template.
  const resident = await residentBytes(objectFiles());
  expect(resident).toBeGreaterThanOrEqual(PROGRAM_BYTES);
  expect(found.memory).toMatchObject({ residentBytes: resident, withoutSharingBytes: resident * 2, savedBytes: resident });
  expect(found.memory?.byContainers).toEqual([{ containers: 2, objects: objectFiles().length, residentBytes: resident }]);
  expect(ofContainer(found, 'c1').memory).toEqual({ residentBytes: resident, proportionalBytes: resident / 2 });
  expect(ofContainer(found, 'c3').memory).toBeNull();
});

test('what has not changed is not counted again; --exact finds and mends what was kept wrongly', async () => {
  const before = await stats();
  const again = await stats('--no-memory');
  expect(again.memory).toBeNull();
  for (const name of ['c1', 'c2']) expect(ofContainer(again, name).counted).toBe(ofContainer(before, name).counted);

  mkdirSync(join(roots[1] ?? '', 'srv/new'));
  const changed = await stats();
  expect(ofContainer(changed, 'c1').counted).toBe(ofContainer(before, 'c1').counted);
  expect(ofContainer(changed, 'c2').counted).not.toBe(ofContainer(before, 'c2').counted);
  expect(ofContainer(changed, 'c2').privateBytes).toBe(privateBytesOf('c2'));

  const kept = join(store.path, 'cache/area-sums/c1');
  const right = readFileSync(kept, 'utf8');
  writeFileSync(kept, right.replace(/"privateBytes":\d+/, '"privateBytes":4711'));
  expect(ofContainer(await stats(), 'c1').privateBytes).toBe(4711);
  const exact = await stats('--exact');
  expect(exact.exact).toEqual({ agrees: false, differences: [{ what: 'c1 privateBytes', keptBytes: 4711, countedBytes: privateBytesOf('c1') }] });
  expect(ofContainer(await stats(), 'c1').privateBytes).toBe(privateBytesOf('c1'));

  // A clean unmount and the next mount: counted while it ran, and not again when it has stopped.
  await store.ok('umount', 'c2');
  const stopped = ofContainer(await stats(), 'c2');
  expect(ofContainer(await stats(), 'c2').counted).toBe(stopped.counted);
  await store.mount('c2');
  put(roots[1] ?? '', 'srv/later', 'later');
  expect(ofContainer(await stats(), 'c2').privateBytes).toBe(privateBytesOf('c2'));
});

test('du: what is shared and what would go', async () => {
  const { containers } = await stats();
  const all = (await store.json('du', 'c1')) as Record<string, number>;
  expect(all['apparentBytes']).toBe(containers.find(({ name }) => name === 'c1')?.logicalBytes);
  expect(all['privateBytes']).toBe(privateBytesOf('c1'));
  expect(all['allocatedBytes']).toBe((all['sharedBytes'] ?? 0) + (all['exclusiveBytes'] ?? 0));
  // Through a symlink; all of it is the template's.
  const shared = blocksOf(objectFiles().filter((file) => statSync(file).size === PROGRAM_BYTES));
  expect(await store.json('du', 'c2', '/bin/')).toMatchObject({ path: '/usr/bin', files: 1, apparentBytes: PROGRAM_BYTES, sharedBytes: shared, exclusiveBytes: 0 });
  await store.refuses(['du', 'c1', '/nowhere'], { status: 1, code: 'FAILED', message: /has no "\/nowhere"/ });
});

test('explain: where content comes from, whose it is, and why it is private', async () => {
  const template = { source: 'template', why: null, change: null, package: { name: 'openssl', version: '3.0.9-1' }, pageCache: { shared: true } };
  expect(await store.json('explain', 'c2', '/bin/prog')).toMatchObject({ path: '/usr/bin/prog', ...template, sharedWith: { templates: ['t'], containers: ['c1', 'c2', 'c3'] } });
  expect(await store.json('explain', 'c1', '/usr/bin/prog')).toMatchObject({ source: 'private', change: 'changed', object: null, sharedWith: null, package: { version: '1:3.0.11~rc1-1' } });
  expect(await store.json('explain', 'c1', '/etc/passwd')).toMatchObject({ source: 'link', change: 'metadata' });
  expect(await store.json('explain', 'c2', '/srv/data')).toMatchObject({ source: 'private', change: 'changed' });
});

test('which containers have which versions of a package, by dpkg’s rules', async () => {
  const having = async (query: string): Promise<string[]> => ((await store.json('query', 'package', query)) as { found: { container: string }[] }).found.map(({ container }) => container);
  expect(await having('openssl')).toEqual(['c1', 'c2', 'c3']);
  expect(await having('openssl<1:3.0.11-1')).toEqual(['c1', 'c2', 'c3']);
  // An epoch counts more than all behind it, and ~ is less than nothing.
  expect(await having('openssl<3.0.11')).toEqual(['c2', 'c3']);
  expect(await having('openssl >= 1:3.0.11~rc1')).toEqual(['c1']);
  expect(await having('old')).toEqual(['c2', 'c3']);
  await store.refuses(['query', 'package', 'openssl<$(id)'], { status: 2, code: 'USAGE', message: /not a package/ });
});

test('which containers need an object, and where they have it', async () => {
  const { object } = (await store.json('explain', 'c2', '/usr/bin/prog')) as { object: { id: string } };
  const found = await store.json('query', 'object', object.id.slice(0, 12), '--paths');
  expect(found).toMatchObject({
    object: object.id, templates: ['t'], containers: ['c1', 'c2', 'c3'], snapshots: [],
    paths: [{ container: 'c2', path: '/usr/bin/prog' }, { container: 'c3', path: '/usr/bin/prog' }],
  });
  await store.refuses(['query', 'object', '0000000000'], { status: 1, code: 'FAILED', message: /has no object/ });
});

test('diff says why each path differs', async () => {
  const changes = (await store.json('diff', 'c1')) as { path: string; letter: string; reason: string; package?: unknown }[];
  const reasons = new Map(changes.map(({ path, letter, reason, package: owner }) => [path, [letter, reason, owner]]));
  expect(reasons.get('/usr/bin/prog')).toEqual(['C', 'package', { name: 'openssl', version: '1:3.0.11~rc1-1' }]);
  expect(reasons.get('/srv/old')).toEqual(['D', 'package', { name: 'old', version: '1' }]);
  expect(reasons.get('/etc/passwd')).toEqual(['C', 'metadata', undefined]);
  expect(reasons.get('/srv/own')).toEqual(['A', 'written', undefined]);
});

test('the top, and the same after merging; samples, a page and metrics', async () => {
  const prog = objectFiles().find((file) => statSync(file).size === PROGRAM_BYTES);
  const top = (await store.json('stats', '--top', '3')) as Record<string, Record<string, unknown>[]>;
  expect(top['largestObjects']?.[0]).toMatchObject({ sizeBytes: PROGRAM_BYTES, containers: 3, where: 't:/usr/bin/prog' });
  expect(top['mostSharedObjects']?.[0]).toMatchObject({ savedBytes: 2 * blocksOf([prog ?? '']) });
  expect(top['mostPrivate']?.map(({ path }) => path)).toEqual(['/usr/bin/prog', '/srv/own', '/srv/also']);
  expect(top['duplicates']).toMatchObject([
    { sizeBytes: PROGRAM_BYTES, object: expect.any(String) as string, files: [{ container: 'c1', path: '/usr/bin/prog' }] },
    { sizeBytes: 500_000, object: null, files: [{ container: 'c1', path: '/srv/own' }, { container: 'c2', path: '/srv/also' }] },
  ]);

  const before = await stats();
  await store.ok('link', '--all');
  const after = await stats('--exact');
  expect(after.exact).toEqual({ agrees: true, differences: [] });
  expect(after.disk.storedBytes).toBeLessThan(before.disk.storedBytes - PROGRAM_BYTES);
  for (const { name, privateBytes } of after.containers) expect(privateBytes, name).toBe(privateBytesOf(name));
  expect(await store.json('explain', 'c1', '/srv/own')).toMatchObject({ source: 'link', sharedWith: { templates: [], containers: ['c1', 'c2'] } });
  const { samples } = (await store.json('stats', '--trend')) as { samples: { reason: string; storedBytes: number }[] };
  expect(samples.map(({ reason }) => reason)).toEqual(['stats', 'link']);
  expect(samples[1]?.storedBytes).toBe(after.disk.storedBytes);

  const page = scratch.path('page.html');
  await store.ok('stats', '--html', page);
  const html = readFileSync(page, 'utf8');
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).toContain('<polyline');
  expect(html.replaceAll('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:|<script|<link|src=/);
  const metrics = await store.ok('stats', '--prometheus');
  expect(metrics).toContain(`templatefs_container_private_bytes{container="c2"} ${privateBytesOf('c2')}\n`);
  await store.refuses(['stats', '--top', '--trend'], { status: 2, code: 'USAGE', message: /--top and --trend/ });
});

test('packages of rpm, by rpm’s rules, beside containers that have none', async () => {
  const folder = scratch.makeFolder('rpm-root');
  const packages = scratch.makeFolder('rpm-packages');
  const database = join(folder, 'var/lib/rpm');
  mkdirSync(database, { recursive: true });
  const file = await buildRpm(packages, { name: 'sample', version: '2.0~beta', files: { '/opt/sample': 'sample' } });
  await runOk('rpm', ['--dbpath', database, '--define', '_db_backend sqlite', '--install', '--justdb', '--nodeps', '--noscripts', file]);
  put(folder, 'opt/sample', 'sample');
  await store.ok('template', 'import', 'r', folder);
  await store.ok('create', 'r1', '--ostemplate', 'r');
  const found = { container: 'r1', name: 'sample', version: '2.0~beta-1', architecture: 'noarch', rules: 'rpm' };
  expect(await store.json('query', 'package', 'sample<2.0')).toMatchObject({ asked: 4, found: [found], unknown: [] });
  expect(await store.json('query', 'package', 'sample>=2.0')).toMatchObject({ found: [] });
  // Without a release, as in a `Requires`.
  expect(await store.json('query', 'package', 'sample=2.0~beta')).toMatchObject({ found: [found] });
  expect(await store.json('explain', 'r1', '/opt/sample')).toMatchObject({ package: { name: 'sample', version: '2.0~beta-1' } });

  const bare = scratch.makeFolder('bare');
  put(bare, 'file', 'nothing');
  await store.ok('template', 'import', 'bare', bare);
  await store.ok('create', 'b1', '--ostemplate', 'bare');
  expect(await store.json('query', 'package', 'sample')).toMatchObject({ asked: 4, unknown: [{ container: 'b1' }] });
});
