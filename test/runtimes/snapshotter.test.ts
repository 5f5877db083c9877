import { chmodSync, chownSync, existsSync, linkSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { KIND, type Info } from '../../src/snapshotter/messages.js';
import { STATUS } from '../../src/snapshotter/status.js';
import { compareTrees } from '../support/roots.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import { SnapshotClient, SnapshotterProcess } from '../support/snapshot-client.js';
import type { TestStore } from '../support/test-store.js';

/*
 * The snapshotter as containerd sees it, by gRPC. The first half is what containerd's own suite for snapshotters (core/snapshots/testsuite)
 * expects of every one. The real containerd: containerd.test.ts.
 */

const { EDQUOT } = constants.errno;

const scratch = useScratch();
let store: TestStore;
let service: SnapshotterProcess;
let client: SnapshotClient;
let count = 0;

beforeAll(async () => {
  store = scratch.makeStore();
  service = new SnapshotterProcess(store.path, join(scratch.folder, 'socket'));
  await service.start('--no-gc');
  client = new SnapshotClient(service.address);
});

/** Whatever a test has left: children first. */
afterEach(async () => {
  const left = await client.list();
  const removed = new Set<string>();
  while (removed.size < left.length) {
    const leaves = left.filter(({ name }) => !removed.has(name) && !left.some(({ name: other, parent }) => parent === name && !removed.has(other)));
    for (const { name } of leaves) {
      await client.remove(name);
      removed.add(name);
    }
  }
  await client.cleanUp();
  expect(snapshotsInStore()).toEqual([]);
});

afterAll(async () => {
  client.close();
  expect(await service.end()).toBe(0);
  await store.expectSound();
  await store.ok('gc');
  expect(namesInStore()).toEqual([]);
});

/** Templates and containers of snapshots. Half a record, of a snapshotter that was killed while it wrote it, is none: it goes with a collection. */
function snapshotsInStore(): string[] {
  return namesInStore().filter((name) => !name.includes('.tmp-'));
}

function namesInStore(): string[] {
  return ['templates', 'private'].flatMap((name) => readdirSync(join(store.path, name))).filter((name) => /^containerd-\d/.test(name));
}

const fresh = (name: string): string => `default/${++count}/${name}`;
const failsWith = (code: number, message = ''): unknown => expect.objectContaining({ code, details: expect.stringContaining(message) as string });

/** A change of a root, done the same way in any folder. */
type Change = (root: string) => void;
const file = (path: string, text: string, mode = 0o644): Change => (root) => { writeFileSync(join(root, path), text); chmodSync(join(root, path), mode); };
const folder = (path: string, mode = 0o755): Change => (root) => { mkdirSync(join(root, path)); chmodSync(join(root, path), mode); };
const remove = (path: string): Change => (root) => { rmSync(join(root, path), { recursive: true }); };
const owner = (path: string, id: number): Change => (root) => { chownSync(join(root, path), id, id); };
const move = (from: string, to: string): Change => (root) => { renameSync(join(root, from), join(root, to)); };

/** Commits a layer. @returns its name */
async function layer(parent: string, ...changes: Change[]): Promise<string> {
  const [key, name] = [fresh('extract'), fresh('layer')];
  const { source } = await client.prepare(key, parent);
  for (const change of changes) change(source);
  await client.commit(name, key);
  return name;
}

/** Each layer shows what the same changes make of a plain folder. @returns the names of the layers */
async function checkLayers(...layers: Change[][]): Promise<string[]> {
  const flat = scratch.makeFolder('flat');
  const names: string[] = [];
  for (const changes of layers) {
    for (const change of changes) change(flat);
    names.push(await layer(names.at(-1) ?? '', ...changes));
    const key = fresh('look');
    const { source } = await client.view(key, names.at(-1) ?? '');
    chmodSync(flat, statSync(source).mode);
    expect((await compareTrees(flat, source, '--any-mtime')).differences).toBe('');
    await client.remove(key);
  }
  return names;
}

describe("what containerd's suite expects", () => {
  test('basic: prepare, commit, prepare on it, view, remove in the right order', async () => {
    const first = fresh('preparing');
    const mount = await client.prepare(first, '', { 'containerd.io/gc.root': 'x' });
    expect(mount).toEqual({ type: 'bind', source: join(store.path, `root/containerd-${mount.source.split('-').at(-1) ?? ''}`), target: '', options: ['rw', 'rbind'] });
    expect(await client.mounts(first)).toEqual(mount);
    for (const change of [file('foo', 'foo\n', 0o777), folder('a'), folder('a/b'), folder('a/b/c')]) change(mount.source);
    const committed = fresh('committed');
    await client.commit(committed, first);
    expect(await client.stat(committed)).toMatchObject({ name: committed, parent: '', kind: KIND.committed });
    await expect(client.stat(first)).rejects.toEqual(failsWith(STATUS.notFound, 'does not exist'));

    const next = fresh('next');
    const { source } = await client.prepare(next, committed);
    expect(readdirSync(source, { recursive: true, encoding: 'utf8' }).sort()).toEqual(['a', 'a/b', 'a/b/c', 'foo']);
    for (const change of [file('bar', 'bar\n', 0o777), file('foo', 'bar\n', 0o777), remove('a/b')]) change(source);
    expect(await client.stat(next)).toMatchObject({ parent: committed, kind: KIND.active });
    const second = fresh('committed-next');
    await client.commit(second, next);
    expect(await client.stat(second)).toMatchObject({ parent: committed, kind: KIND.committed });
    expect((await client.list()).map(({ name }) => name).sort()).toEqual([committed, second].sort());

    const look = fresh('view');
    const view = await client.view(look, second);
    expect(view.options).toEqual(['ro', 'rbind']);
    expect(readdirSync(view.source).sort()).toEqual(['a', 'bar', 'foo']);
    expect(readFileSync(join(view.source, 'foo'), 'utf8')).toBe('bar\n');
    await client.remove(look);
    await expect(client.remove(committed)).rejects.toEqual(failsWith(STATUS.failedPrecondition, 'cannot remove'));
    await client.remove(second);
    await client.remove(committed);
  });

  test('a view cannot be written, neither there nor where containerd binds it; nor committed', async () => {
    const base = await layer('', file('f', 'x'));
    const key = fresh('view');
    const { source, options } = await client.view(key, base);
    const bound = scratch.makeFolder('bound');
    await runOk('mount', ['-o', ['bind', ...options].join(','), source, bound]);
    for (const root of [source, bound]) expect(() => { writeFileSync(join(root, 'testfile'), ''); }).toThrow(/EROFS/);
    await runOk('umount', [bound]);
    await expect(client.commit(fresh('c'), key)).rejects.toEqual(failsWith(STATUS.failedPrecondition, 'not active'));
  });

  test('the same key twice', async () => {
    const base = await layer('');
    const key = fresh('k');
    await client.prepare(key, base);
    await expect(client.prepare(key, base)).rejects.toEqual(failsWith(STATUS.alreadyExists));
    await expect(client.view(key, base)).rejects.toEqual(failsWith(STATUS.alreadyExists));
    await expect(client.prepare(base, '')).rejects.toEqual(failsWith(STATUS.alreadyExists));
    await expect(client.commit(base, key)).rejects.toEqual(failsWith(STATUS.alreadyExists));
    // At once: one gets it.
    const race = fresh('race');
    const answers = await Promise.allSettled([1, 2, 3].map(() => client.prepare(race, base)));
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await client.commit(fresh('raced'), race);
  });

  test('parents that are not there, or not committed', async () => {
    await expect(client.prepare(fresh('k'), 'nobody')).rejects.toEqual(failsWith(STATUS.notFound, 'nobody'));
    const key = fresh('active');
    await client.prepare(key, '');
    await expect(client.prepare(fresh('k'), key)).rejects.toEqual(failsWith(STATUS.invalidArgument, 'not committed'));
    await expect(client.prepare('', '')).rejects.toEqual(failsWith(STATUS.invalidArgument));
    const base = await layer('');
    await expect(client.mounts(base)).rejects.toEqual(failsWith(STATUS.failedPrecondition, 'committed'));
    await expect(client.commit(fresh('c'), base)).rejects.toEqual(failsWith(STATUS.failedPrecondition));
    for (const call of [client.mounts('no'), client.stat('no'), client.usage('no'), client.remove('no'), client.commit(fresh('c'), 'no'), client.update({ name: 'no' })]) {
      await expect(call).rejects.toEqual(failsWith(STATUS.notFound, 'no'));
    }
  });

  test('update: labels change, and nothing else', async () => {
    const before = Date.now() - 1;
    const c1 = await layer('');
    const c2 = await layer(c1);
    const [a1, v1] = [fresh('a1'), fresh('v1')];
    await client.prepare(a1, c2);
    await client.view(v1, c2);
    const time = (at: Info['created_at']): number => (at?.seconds ?? 0) * 1000 + (at?.nanos ?? 0) / 1e6;
    for (const [name, kind, parent] of [[c1, KIND.committed, ''], [c2, KIND.committed, c1], [a1, KIND.active, c2], [v1, KIND.view, c2]] as const) {
      const info = await client.stat(name);
      expect(info).toMatchObject({ name, kind, parent });
      expect(info.created_at).toEqual(info.updated_at);
      expect(time(info.created_at)).toBeGreaterThan(before);
      expect(time(info.created_at)).toBeLessThan(Date.now() + 1);
      const labels = { l1: 'v1', l2: 'v2', l3: 'v3' };
      const updated = await client.update({ ...info, parent: 'doesnotexist', labels });
      expect(updated).toMatchObject({ name, kind, parent, labels, created_at: info.created_at });
      expect(time(updated.updated_at)).toBeGreaterThan(time(info.updated_at));
      expect((await client.update({ ...info, labels: { l1: 'updated', l4: 'v4' } }, 'labels.l1', 'labels.l2')).labels).toEqual({ l1: 'updated', l3: 'v3' });
      expect((await client.update({ ...info, labels: { l4: 'v4' } }, 'labels')).labels).toEqual({ l4: 'v4' });
      await expect(client.update({ ...info, parent: 'doesnotexist' }, 'parent')).rejects.toEqual(failsWith(STATUS.invalidArgument, 'parent'));
      expect((await client.stat(name)).labels).toEqual({ l4: 'v4' });
    }
    await expect(client.update({ name: '' })).rejects.toEqual(failsWith(STATUS.invalidArgument));
    expect((await client.list('kind==active', 'kind==view')).map(({ name }) => name).sort()).toEqual([a1, v1].sort());
    expect((await client.list(`parent==${c1}`)).map(({ name }) => name)).toEqual([c2]);
    await expect(client.list('kind=active')).rejects.toEqual(failsWith(STATUS.invalidArgument, 'operators'));
  });

  test('a removed key may be used again, for anything', async () => {
    const base = await layer('');
    const key = fresh('reuse');
    await client.prepare(key, base);
    await client.remove(key);
    await client.view(key, base);
    await client.remove(key);
    await client.prepare(key, '');
    await client.remove(base);
    await client.commit(base, key);
    expect(await client.stat(base)).toMatchObject({ kind: KIND.committed, parent: '' });
  });

  test('layers: a file changed', () => checkLayers(
    [folder('etc', 0o700), file('etc/hosts', 'mydomain 10.0.0.1'), file('etc/profile', 'PATH=/usr/bin')],
    [file('etc/hosts', 'mydomain 10.0.0.2'), file('etc/profile', 'PATH=/usr/bin', 0o666), folder('root', 0o700), file('root/.bashrc', 'PATH=/usr/sbin')],
  ));

  test('layers: a folder removed and made again', () => checkLayers(
    [folder('lib', 0o700), file('lib/hidden', '')],
    [remove('lib'), folder('lib', 0o700), file('lib/not-hidden', '')],
    [file('lib/newfile', '')],
  ));

  test('layers: owners', () => checkLayers(
    [folder('opt', 0o700), folder('opt/a'), folder('opt/a/b'), file('opt/a/b/file.txt', 'hello')],
    [owner('opt', 1), owner('opt/a', 1), owner('opt/a/b', 1), owner('opt/a/b/file.txt', 1)],
  ));

  test('layers: owners and modes of folders that come and go', () => checkLayers(
    [...['dir1', 'dir2', 'dir3', 'dir4', 'dir5'].map((name) => folder(name, 0o700)), file('dir4/f1', '...'), file('dir5/f1', '...'), ...['dir1', 'dir2', 'dir3', 'dir5', 'dir5/f1'].map((name) => owner(name, 1))],
    [owner('dir2', 0), remove('dir3'), owner('dir4', 1), owner('dir4/f1', 1)],
    [folder('dir3', 0o700), owner('dir3', 1), remove('dir5'), folder('dir5', 0o700), owner('dir5', 1)],
  ));

  test('layers: deleted files', () => checkLayers([file('foo', 'foo\n', 0o777), file('foobar', 'foobar\n', 0o777)], [remove('foobar')], []));

  test('layers: files moved by copy, by link and by rename; links', () => checkLayers(
    [folder('dir1', 0o700), file('dir1/f1', 'Hello'), folder('dir2', 0o700), file('dir2/f2', '...'), folder('somefiles'), file('somefiles/f1', 'was here first!'), file('somefiles/f2', 'nothing interesting')],
    [folder('dir3', 0o700), file('dir3/f1', 'Hello'), remove('dir1'), (root) => { linkSync(join(root, 'dir2/f2'), join(root, 'dir3/f2')); }, remove('dir2/f2'), (root) => { symlinkSync('../x', join(root, 'dir3/s')); }],
    [move('dir2', 'dir5'), file('somefiles/f1-overwrite', 'new content 1'), move('somefiles/f1-overwrite', 'somefiles/f1'), move('somefiles/f2', 'somefiles/f3'), (root) => { linkSync(join(root, 'dir3/f2'), join(root, 'h')); }],
  ));

  test('an intermediate snapshot cannot be removed', async () => {
    const base = await layer('');
    const middle = await layer(base);
    const top = fresh('top');
    await client.prepare(top, middle);
    for (const name of [middle, base]) await expect(client.remove(name)).rejects.toEqual(failsWith(STATUS.failedPrecondition, 'children'));
    for (const name of [top, middle, base]) await client.remove(name);
    expect(await client.list()).toEqual([]);
  });
});

describe('beyond the suite', () => {
  test('layers that share no digest share files; nothing of a parent is read', async () => {
    const content = 'shared content '.repeat(2000);
    const [one] = await checkLayers([file('common', content), file('one', 'one'.repeat(1000))]);
    const objects = (): string[] => [...store.sharedFiles().keys()].filter((name) => name.startsWith('objects/'));
    const before = objects();
    await checkLayers([file('two', 'two'.repeat(1000)), file('renamed', content)]);
    expect(objects()).toHaveLength(before.length + 1);
    // A parent whose content is gone can be committed upon: only what is new is looked at.
    for (const name of objects()) renameSync(join(store.path, name), join(store.path, `${name}.away`));
    const child = await layer(one ?? '', file('three', 'three'.repeat(1000)));
    for (const name of before) if (!existsSync(join(store.path, name))) renameSync(join(store.path, `${name}.away`), join(store.path, name));
    for (const name of objects().filter((path) => path.endsWith('.away'))) renameSync(join(store.path, name), join(store.path, name.slice(0, -'.away'.length)));
    const { source } = await client.view(fresh('look'), child);
    expect([readFileSync(join(source, 'common'), 'utf8') === content, readFileSync(join(source, 'three'), 'utf8')]).toEqual([true, 'three'.repeat(1000)]);
  });

  test('content that is here already is said to exist', async () => {
    const ref = { 'containerd.io/snapshot.ref': 'sha256:chain1' };
    const [key, name] = [fresh('extract'), fresh('sha256:chain1')];
    await client.prepare(key, '', ref);
    // Not yet: only what is committed counts.
    await client.prepare(fresh('extract'), '', ref);
    await client.commit(name, key, ref);
    await expect(client.prepare('other/1/extract', '', ref)).rejects.toEqual(failsWith(STATUS.alreadyExists, name));
    // How containerd looks for it then.
    expect((await client.list('labels."containerd.io/snapshot.ref"==sha256:chain1,parent==""')).map((info) => [info.name, info.kind])).toEqual([[expect.any(String), KIND.active], [name, KIND.committed]]);
    // On another parent it is another content.
    await client.prepare(fresh('extract'), name, ref);
    // A container of this image is no unpack.
    await client.view(fresh('view'), '', ref);
  });

  test('usage', async () => {
    const key = fresh('k');
    const { source } = await client.prepare(key, '');
    const empty = await client.usage(key);
    writeFileSync(join(source, 'f'), Buffer.alloc(1024 * 1024, 7));
    const full = await client.usage(key);
    expect(full.size - empty.size).toBeGreaterThanOrEqual(1024 * 1024);
    expect(full.inodes - empty.inodes).toBe(1);
    writeFileSync(join(source, 'g'), Buffer.alloc(1024 * 1024, 8));
    expect((await client.usage(key)).size - full.size).toBeGreaterThanOrEqual(1024 * 1024);
    const name = fresh('c');
    await client.commit(name, key);
    const committed = await client.usage(name);
    expect(committed.size).toBeGreaterThanOrEqual(2 * 1024 * 1024);
    // Only its own, not its parent's.
    const child = await layer(name, file('h', 'x'));
    expect((await client.usage(child)).size).toBeLessThan(1024 * 1024);
  });

  test('max-size is a quota, and its usage is counted', async () => {
    const key = fresh('k');
    const { source } = await client.prepare(key, '', { 'containerd.io/snapshot/max-size': '1M' });
    writeFileSync(join(source, 'f'), Buffer.alloc(512 * 1024, 7));
    expect(() => { writeFileSync(join(source, 'g'), Buffer.alloc(1024 * 1024, 7)); }).toThrow(expect.objectContaining({ errno: -EDQUOT }));
    const { size } = await client.usage(key);
    expect(size).toBeGreaterThanOrEqual(512 * 1024);
    expect(size).toBeLessThanOrEqual(1024 * 1024);
    await expect(client.prepare(fresh('k'), '', { 'containerd.io/snapshot/max-size': 'much' })).rejects.toEqual(failsWith(STATUS.invalidArgument, 'not a size'));
  });

  test('ids are mapped, and what is committed is not', async () => {
    const base = await layer('', file('f', 'x'), owner('f', 7));
    const key = fresh('mapped');
    const labels = { 'containerd.io/snapshot/uidmapping': '0:100000:65536', 'containerd.io/snapshot/gidmapping': '0:200000:65536' };
    const { source } = await client.prepare(key, base, labels);
    expect([statSync(join(source, 'f')).uid, statSync(join(source, 'f')).gid, statSync(source).uid]).toEqual([100007, 200007, 100000]);
    const name = fresh('c');
    await client.commit(name, key);
    const view = await client.view(fresh('v'), name);
    expect([statSync(join(view.source, 'f')).uid, statSync(view.source).uid]).toEqual([7, 0]);
  });

  test('committed while it is bound elsewhere, removed while it is used', async () => {
    const key = fresh('k');
    const { source } = await client.prepare(key, '');
    const bound = scratch.makeFolder('bound');
    await runOk('mount', ['--rbind', source, bound]);
    writeFileSync(join(bound, 'f'), 'late');
    const name = fresh('c');
    await client.commit(name, key);
    await runOk('umount', [bound]);
    const view = await client.view(fresh('v'), name);
    expect(readFileSync(join(view.source, 'f'), 'utf8')).toBe('late');
    const busy = fresh('busy');
    const used = await client.prepare(busy, name);
    const sleeper = runProgram('sleep', ['1000'], { cwd: used.source, onStart: (child) => { setTimeout(() => { child.kill('SIGKILL'); }, 1500); } });
    await client.remove(busy);
    await sleeper;
    expect((await client.list('kind==active')).map(({ name: left }) => left)).toEqual([]);
  });

  test('what containerd lists cannot be removed by hand, nor by a collection', async () => {
    const base = await layer('', file('f', 'kept'));
    const key = fresh('k');
    const { source } = await client.prepare(key, base);
    writeFileSync(join(source, 'g'), 'own');
    const container = source.slice(source.lastIndexOf('/') + 1);
    await store.refuses(['destroy', container, '--force'], { status: 11, code: 'BUSY', message: /is a snapshot of containerd/ });
    const [template = ''] = snapshotsInStore().filter((name) => name !== container);
    await store.refuses(['template', 'remove', template], { status: 11, code: 'TEMPLATE_IN_USE', message: /is a snapshot of containerd/ });
    await store.ok('gc');
    expect([readFileSync(join(source, 'f'), 'utf8'), readFileSync(join(source, 'g'), 'utf8')]).toEqual(['kept', 'own']);
  });

  test('killed at any time it loses nothing that it has answered, and clears away what it had not', { timeout: 300_000 }, async () => {
    const answered = new Map<string, string>();
    for (let round = 0; round < 3; round++) {
      const work = [...Array(4).keys()].map(async (job) => {
        for (let step = 0; ; step++) {
          const id = `${round}.${job}.${step}`;
          const { source } = await client.prepare(`key ${id}`, '');
          writeFileSync(join(source, 'f'), id);
          await client.commit(`layer ${id}`, `key ${id}`);
          answered.set(`layer ${id}`, id);
          if (step % 2 === 1) {
            const doomed = `layer ${round}.${job}.${step - 1}`;
            answered.delete(doomed);
            await client.remove(doomed);
          }
        }
      });
      setTimeout(() => void service.end('SIGKILL'), 150 + Math.random() * 500);
      const ends = await Promise.allSettled(work);
      expect(ends.map((end) => end.status === 'rejected' && (end.reason as { code: number }).code)).toEqual(Array(4).fill(STATUS.unavailable));
      await service.end('SIGKILL');
      await service.start('--no-gc');
      const listed = await client.list('kind==committed');
      expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining([...answered.keys()]));
      // Active ones that were answered or not: both are listed or gone, as containerd may see them.
      for (const { name } of await client.list('kind==active')) await client.remove(name);
      await client.cleanUp();
      expect(snapshotsInStore()).toHaveLength(listed.length);
    }
    for (const [name, text] of answered) {
      const key = fresh('look');
      const { source } = await client.view(key, name);
      expect(readFileSync(join(source, 'f'), 'utf8')).toBe(text);
      await client.remove(key);
    }
    await store.expectSound();
  });

  test('a root whose engine was killed is mounted anew', async () => {
    const key = fresh('k');
    const { source } = await client.prepare(key, '');
    writeFileSync(join(source, 'f'), 'kept');
    const engine = store.engineFile(source.slice(source.lastIndexOf('/') + 1));
    for (const name of ['holder', 'worker']) process.kill(Number(engine.get(name)), 'SIGKILL');
    await expect.poll(async () => readFileSync(join((await client.mounts(key)).source, 'f'), 'utf8'), { timeout: 20_000 }).toBe('kept');
  });

  test('one at a time serves a store, and an address', async () => {
    await store.refuses(['snapshotter', '--address', join(scratch.folder, 'other')], { status: 11, code: 'BUSY', message: /the snapshotter of this store is in use/ });
    const other = scratch.makeStore();
    await other.refuses(['snapshotter', '--address', service.address], { status: 11, code: 'BUSY', message: /another program serves/ });
    await other.refuses(['snapshotter', '--address', store.path], { status: 2, code: 'USAGE', message: /no socket/ });
    await other.refuses(['snapshotter', '--address', `/tmp/${'x'.repeat(110)}`], { status: 2, code: 'USAGE', message: /longer than 107/ });
  });
});
