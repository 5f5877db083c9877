import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../support/agent.js';
import { LoopVolume } from '../support/loop-volume.js';
import { PYTHON } from '../support/project.js';
import { buildRoot, compareTrees, packTar, unpackTar } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

const scratch = useScratch();
let archive = '';
let original = '';

beforeAll(async () => {
  archive = await packTar(await buildRoot(scratch.path('built')), scratch.path('root.tar'));
  original = await unpackTar(archive, scratch.makeFolder('unpacked'));
});

/** Every kind of change: each entry one way or the other, and things that the template does not have. */
const CHANGES = `
import os, random, stat, socket, sys
root = os.fsencode(sys.argv[1])
rng = random.Random(int(sys.argv[2]))
tag = os.fsencode(sys.argv[2])
os.chdir(root)
paths = sorted(os.path.join(parent, name) for parent, folders, files in os.walk(b'.') for name in files + folders)
for path in paths:
    if not os.path.lexists(path):
        continue
    status = os.lstat(path)
    dice = rng.randrange(9)
    if stat.S_ISLNK(status.st_mode):
        if dice == 0: os.unlink(path)
        elif dice == 1: os.chown(path, 7, 8, follow_symlinks=False)
        elif dice == 2: os.link(path, path + b'.h' + tag, follow_symlinks=False)
    elif stat.S_ISDIR(status.st_mode):
        if dice == 0: os.rename(path, path + b'.m' + tag)
        elif dice == 1: os.chmod(path, 0o1751)
        elif dice == 2 and not os.listdir(path): os.rmdir(path); os.mkdir(path)
        elif dice == 3: os.setxattr(path, 'user.mine', b'folder')
    elif stat.S_ISREG(status.st_mode):
        if dice == 0: os.unlink(path)
        elif dice == 1: os.chmod(path, 0o4711)
        elif dice == 2: os.rename(path, path + b'.m' + tag)
        elif dice == 3: os.link(path, path + b'.h' + tag)
        elif dice == 4:
            with open(path, 'ab') as f: f.write(b'more')
        elif dice == 5:
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, b'changed', status.st_size // 2)
            os.ftruncate(fd, status.st_size // 2 + 4096)
            os.close(fd)
        elif dice == 6: os.setxattr(path, 'user.mine', os.urandom(200)); os.utime(path, ns=(1, 999999999))
    elif dice == 0: os.unlink(path)
    elif dice == 1: os.chmod(path, 0o600)
made = b'made-%d' % rng.randrange(1000000)
os.makedirs(made + b'/deep/' + b'x' * 200)
with open(made + b'/sparse', 'wb') as f:
    f.seek(3 << 20); f.write(b'end')
with open(made + b'/large', 'wb') as f:
    f.write(rng.randbytes(3 << 20))
for number in range(40):
    with open(made + b'/f%d' % number, 'wb') as f: f.write(b'%d' % number * 50)
os.link(made + b'/f0', made + b'/deep/f0')
os.symlink(b'to ' * 300, made + b'/long')
os.mkfifo(made + b'/fifo')
os.mknod(made + b'/zero', 0o600 | stat.S_IFCHR, 0)
os.mknod(made + b'/device', 0o640 | stat.S_IFBLK, os.makedev(7, 300))
socket.socket(socket.AF_UNIX).bind((made + b'/socket').decode())
os.setxattr(made + b'/f1', 'trusted.mine', b'v')
`;

async function change(root: string, seed: number): Promise<void> {
  await runOk(PYTHON, ['-c', CHANGES, root, String(seed)]);
}

/** A copy of what a root shows: nothing of templatefs is in it. */
async function record(root: string): Promise<string> {
  const copy = scratch.path('record');
  await runOk('cp', ['-a', '--', root, copy]);
  return copy;
}

async function expectEqual(wanted: string, found: string): Promise<void> {
  const { differences, entries } = await compareTrees(wanted, found);
  expect(differences).toBe('');
  expect(entries).toBeGreaterThan(50);
}

/** Nothing half made or half removed, and no journal entry. */
function expectNothingHalfDone(store: TestStore): void {
  const folders = [join(store.path, 'private'), ...readdirSync(join(store.path, 'private', '.snapshots')).map((name) => join(store.path, 'private', '.snapshots', name))];
  for (const folder of folders) expect(readdirSync(folder).filter((name) => name.startsWith('.') && name !== '.snapshots')).toEqual([]);
  const database = new Database(join(store.path, 'catalog.sqlite'), { readonly: true });
  expect(database.prepare('SELECT * FROM journal').all()).toEqual([]);
  database.close();
}

async function everything(store: TestStore): Promise<void> {
  let root = await store.mount('c1');
  await change(root, 1);
  const first = await record(root);
  const shared = store.sharedFiles();
  expect(await store.ok('snapshot', 'c1')).toBe('snap0');
  await change(root, 2);
  const second = await record(root);
  // While it runs and while it does not: equal all the same.
  await store.ok('clone', 'c1', 'running');
  await store.ok('umount', 'c1');
  expect(await store.ok('snapshot', 'c1', '--name', 'two', '--comment', 'the second')).toBe('two');
  await store.ok('clone', 'c1', 'stopped');
  await store.ok('clone', 'c1@snap0', 'older');
  await store.expectSound();
  for (const [name, wanted] of [['running', second], ['stopped', second], ['older', first]] as const) {
    await expectEqual(wanted, await store.mount(name));
    await store.ok('umount', name);
  }
  await store.ok('restore', 'c1', 'snap0');
  root = await store.mount('c1');
  await expectEqual(first, root);
  // Independent of one another.
  await change(root, 3);
  await change(await store.mount('older'), 4);
  const third = await record(root);
  await expectEqual(second, await store.mount('running'));
  await store.ok('umount', 'c1');
  await store.ok('restore', 'c1', 'two');
  await expectEqual(second, await store.mount('c1'));
  await store.ok('umount', 'c1');
  await store.ok('restore', 'c1', 'snap0');
  await expectEqual(first, await store.mount('c1'));
  expect(third).not.toBe(first);
  expect(store.sharedFiles()).toEqual(shared);
  await store.expectSound();
  // Garbage collection knows what snapshots alone refer to: nothing else does once all is changed back.
  await store.ok('gc');
  await store.expectSound();
  await store.ok('umount', 'c1');
  await store.ok('snapshot', 'remove', 'c1', 'snap0');
  expect(((await store.json('snapshot', 'list', 'c1')) as { id: string; comment: string }[]).map(({ id, comment }) => [id, comment])).toEqual([['two', 'the second']]);
  await store.ok('destroy', 'c1');
  expect(readdirSync(join(store.path, 'private', '.snapshots'))).toEqual([]);
  await expectEqual(second, await store.mount('running'));
  for (const name of ['running', 'older']) await store.ok('umount', name);
}

describe('snapshots and clones', () => {
  test('have all that the container had, and are independent of it', { timeout: 300_000 }, async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    await everything(store);
  });

  test('of an untouched container, and of one that was never mounted', async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    await store.ok('snapshot', 'c1');
    await store.ok('clone', 'c1', 'c2');
    await expectEqual(original, await store.mount('c2'));
    await change(await store.mount('c1'), 5);
    await store.refuses(['restore', 'c1', 'snap0'], { status: 11, code: 'CONTAINER_MOUNTED', message: /is mounted/ });
    await store.ok('umount', 'c1');
    await store.ok('restore', 'c1', 'snap0');
    await expectEqual(original, await store.mount('c1'));
  });

  test('leave out what is open without a name, and keep inode numbers', async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    const root = await store.mount('c1');
    const agent = new Agent();
    writeFileSync(join(root, 'gone'), 'x'.repeat(3_000_000));
    const fd = await agent.open(join(root, 'gone'));
    await agent.call('unlink', join(root, 'gone'));
    writeFileSync(join(root, 'kept'), 'kept');
    const inode = statSync(join(root, 'kept')).ino;
    await store.ok('snapshot', 'c1');
    expect(await agent.read(fd, 3)).toBe('xxx');
    await agent.end();
    expect(readdirSync(join(store.path, 'private/.snapshots/c1/snap0/inodes'))).toEqual([]);
    await store.ok('umount', 'c1');
    await store.ok('restore', 'c1', 'snap0');
    const again = await store.mount('c1');
    expect(statSync(join(again, 'kept')).ino).toBe(inode);
    writeFileSync(join(again, 'new'), 'new');
    expect(statSync(join(again, 'new')).ino).toBeGreaterThan(inode);
    expect(readFileSync(join(again, 'kept'), 'utf8')).toBe('kept');
  });

  test('a template made of a container has all that the container shows, and nothing is read or stored again', { timeout: 240_000 }, async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    for (const seed of [1, 2]) await change(await store.mount('c1'), seed);
    const wanted = await record(join(store.path, 'root/c1'));
    const before = store.sharedFiles();
    // While it runs, from a snapshot, and while it does not.
    await store.ok('snapshot', 'c1');
    const running = (await store.json('commit', 'c1', 'running')) as { tree: string; newObjects: number };
    const kept = (await store.json('commit', 'c1@snap0', 'kept')) as { tree: string; newObjects: number };
    await store.ok('umount', 'c1');
    const stopped = (await store.json('commit', 'c1', 'stopped')) as { tree: string; newObjects: number };
    expect(new Set([running.tree, kept.tree, stopped.tree]).size).toBe(1);
    expect(running.newObjects).toBeGreaterThan(0);
    expect(stopped.newObjects).toBe(0);
    expect(Object.fromEntries([...store.sharedFiles()].filter(([name]) => before.has(name)))).toEqual(Object.fromEntries(before));
    await store.ok('create', 'c2', '--ostemplate', 'running');
    await expectEqual(wanted, await store.mount('c2'));
    await change(await store.mount('c1'), 3);
    await store.ok('destroy', 'c1', '--force');
    await store.ok('template', 'remove', 't');
    await store.ok('gc');
    await expectEqual(wanted, await store.remount('c2'));
    // And once more, from a container on that template.
    await change(join(store.path, 'root/c2'), 4);
    const again = await record(join(store.path, 'root/c2'));
    await store.ok('commit', 'c2', 'running', '--refresh');
    await store.ok('create', 'c3', '--ostemplate', 'running');
    await expectEqual(again, await store.mount('c3'));
    await store.expectSound();
    expectNothingHalfDone(store);
  });

  test('a backup makes an equal container in another store; what is cut or changed is refused', { timeout: 240_000 }, async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    await change(await store.mount('c1'), 1);
    const wanted = await record(join(store.path, 'root/c1'));
    const [running, stopped, less] = [scratch.path('running.backup'), scratch.path('stopped.backup'), scratch.path('less.backup')];
    await store.ok('backup', 'c1', running);
    await store.ok('umount', 'c1');
    await store.ok('backup', 'c1', stopped);
    // The same bytes: links and all else are where they were.
    expect(readFileSync(running).equals(readFileSync(stopped))).toBe(true);
    expect(await store.json('backup', 'c1', less, '--against', 't')).toMatchObject({ includedObjects: 0 });
    expect(statSync(less).size).toBeLessThan(statSync(stopped).size);

    const other = scratch.makeInProcessStore();
    await other.refuses(['restore', less], { status: 12, code: 'INTEGRITY', message: /this store/ });
    expect(await other.json('restore', stopped)).toMatchObject({ name: 'c1', ostemplate: 't' });
    await expectEqual(wanted, await other.mount('c1'));
    expect(await other.json('restore', less, '--name', 'c2')).toMatchObject({ newObjects: 0 });
    await expectEqual(wanted, await other.mount('c2'));
    await other.refuses(['restore', stopped], { status: 1, code: 'CONTAINER_EXISTS', message: /c1 already/ });
    await other.expectSound();

    const third = scratch.makeInProcessStore();
    const bytes = readFileSync(stopped);
    const broken = scratch.path('broken.backup');
    for (let round = 0; round < 10; round++) {
      const copy = Buffer.from(bytes);
      if (round % 3 === 0) writeFileSync(broken, copy.subarray(0, Math.floor((copy.length * round) / 10)));
      else {
        const at = Math.floor(round < 5 ? round * 397 : (copy.length * round) / 10);
        copy[at] = (copy[at] ?? 0) ^ (1 << (round % 8));
        writeFileSync(broken, copy);
      }
      const ended = await third.run(['--json', 'restore', broken, '--name', `b${round}`]);
      expect([1, 2, 12], `round ${round}: ${ended.stderr}`).toContain(ended.status);
    }
    expect(await third.json('list')).toEqual([]);
    expect(readdirSync(join(third.path, 'private')).filter((name) => name !== '.snapshots')).toEqual([]);
    await third.ok('gc');
    expect(third.sharedFiles().size).toBe(0);
  });

  test('settings: what belongs to the files comes back, what the administrator set stays', async () => {
    const store = scratch.makeInProcessStore();
    await store.ok('template', 'import', 't', archive);
    await store.ok('create', 'c1', '--ostemplate', 't', '--quota-inodes', '5000');
    const before = (await store.json('info', 'c1')) as { tree: string };
    await store.ok('snapshot', 'c1');
    await store.ok('quota', 'c1', '--inodes', '6000', '--size', '1G');
    await store.ok('clone', 'c1', 'c2');
    await store.ok('restore', 'c1', 'snap0');
    for (const name of ['c1', 'c2']) {
      expect(await store.json('quota', name)).toMatchObject({ inodes: 6000, sizeBytes: 1 << 30 });
      expect(await store.json('info', name)).toMatchObject({ tree: before.tree });
    }
    // Counted anew, and right.
    const root = await store.mount('c2');
    mkdirSync(join(root, 'folder'));
    expect(await store.json('quota', 'c2')).toMatchObject({ usedInodes: 2 });
  });

  test('names that are taken, that nothing has, that cannot be', async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1', 'c2');
    await store.ok('snapshot', 'c1', '--name', 'a');
    await store.refuses(['snapshot', 'c1', '--name', 'a'], { status: 1, code: 'SNAPSHOT_EXISTS', message: /has a snapshot a already/ });
    await store.refuses(['snapshot', 'c1', '--name', '../a'], { status: 2, code: 'USAGE', message: /not a valid snapshot name/ });
    await store.refuses(['snapshot', 'c9'], { status: 10, code: 'CONTAINER_NOT_FOUND', message: /no container "c9"/ });
    await store.refuses(['restore', 'c1', 'b'], { status: 10, code: 'SNAPSHOT_NOT_FOUND', message: /no snapshot "b"/ });
    await store.refuses(['restore', 'c2', 'a'], { status: 10, code: 'SNAPSHOT_NOT_FOUND', message: /container c2 has no snapshot/ });
    await store.refuses(['snapshot', 'remove', 'c1', '.'], { status: 10, code: 'SNAPSHOT_NOT_FOUND', message: /no snapshot/ });
    await store.refuses(['clone', 'c1@b', 'c3'], { status: 10, code: 'SNAPSHOT_NOT_FOUND', message: /no snapshot "b"/ });
    await store.refuses(['clone', 'c1', 'c2'], { status: 1, code: 'CONTAINER_EXISTS', message: /container c2 already/ });
    await store.refuses(['clone', 'c1', 'c1@x'], { status: 2, code: 'USAGE', message: /not a valid container name/ });
    await store.ok('clone', 'c1@a', 'c3');
    expectNothingHalfDone(store);
  });

  test('a template that only a snapshot needs stays, and the catalog can be made from it', async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    await change(await store.mount('c1'), 6);
    await store.ok('umount', 'c1');
    await store.ok('snapshot', 'c1');
    // As after an update to another template.
    const file = join(store.path, 'private/c1/container');
    await store.ok('template', 'import', 'other', archive);
    writeFileSync(file, readFileSync(file, 'utf8').replace('template t', 'template other'));
    await store.ok('catalog', 'rebuild');
    await store.refuses(['template', 'remove', 't'], { status: 11, code: 'TEMPLATE_IN_USE', message: /used by snapshot c1@snap0/ });
    rmSync(join(store.path, 'templates/t'));
    await store.run(['catalog', 'rebuild']);
    expect(((await store.json('template', 'list')) as { name: string }[]).map(({ name }) => name)).toEqual(['other', 't']);
    await store.ok('restore', 'c1', 'snap0');
    expect(await store.json('info', 'c1')).toMatchObject({ ostemplate: 't' });
    await store.expectSound();
  });

  test('verify names a snapshot that lacks an object, and gc keeps what only a snapshot needs', async () => {
    const store = scratch.makeInProcessStore();
    const source = scratch.makeFolder('gc-source');
    mkdirSync(join(source, 'usr'));
    writeFileSync(join(source, 'usr/old'), 'only in the first version\n'.repeat(1000));
    await store.make(source, 'c1');
    const root = await store.mount('c1');
    await runOk('chmod', ['600', join(root, 'usr/old')]);
    await store.ok('umount', 'c1');
    await store.ok('snapshot', 'c1');
    await store.ok('clone', 'c1', 'c2');
    await store.ok('destroy', 'c2');
    const objects = [...store.sharedFiles().keys()].filter((name) => name.startsWith('objects/'));
    // Neither the template nor the container needs it any more.
    rmSync(join(source, 'usr/old'));
    writeFileSync(join(source, 'usr/new'), 'new\n'.repeat(1000));
    await store.ok('template', 'import', 'other', source);
    const file = join(store.path, 'private/c1/container');
    const other = ((await store.json('template', 'list')) as { name: string; tree: string }[]).find(({ name }) => name === 'other');
    rmSync(join(store.path, 'private/c1/root/usr'), { recursive: true });
    writeFileSync(file, readFileSync(file, 'utf8').replace('template t', 'template other').replace(/^tree .*$/m, `tree ${other?.tree ?? ''}`));
    rmSync(join(store.path, 'templates/t'));
    await store.run(['catalog', 'rebuild']);
    expect(await store.json('gc')).toMatchObject({ objects: 0, trees: 0 });
    expect([...store.sharedFiles().keys()]).toEqual(expect.arrayContaining(objects));
    rmSync(join(store.path, objects[0] ?? 'none'));
    const found = JSON.parse((await store.run(['--json', 'verify'])).stdout) as { snapshotsChecked: number; problems: { name: string; problem: string }[] };
    expect(found.snapshotsChecked).toBe(1);
    expect(found.problems.some(({ problem }) => /needs it/.test(problem)), JSON.stringify(found)).toBe(true);
  });

  test('of a container that works all the time are whole each', { timeout: 240_000 }, async () => {
    const store = scratch.makeInProcessStore();
    await store.make(archive, 'c1');
    const root = await store.mount('c1');
    // Two names change places all the time; each file says its own name in its xattr, and there are always 20 of both.
    const script = `
import os, sys
os.chdir(sys.argv[1])
for n in range(20):
    os.makedirs('a/%d' % n); os.makedirs('b')if n == 0 else None
    open('a/%d/x' % n, 'w').write('x' * 100)
print('ready', flush=True)
n = 0
while True:
    os.rename('a/%d' % (n % 20), 'b/%d' % (n % 20)); os.rename('b/%d' % (n % 20), 'a/%d' % (n % 20)); n += 1
`;
    const child = spawn(PYTHON, ['-c', script, root], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve));
      for (let round = 0; round < 5; round++) {
        await store.ok('clone', 'c1', `k${round}`);
        const cloned = await store.mount(`k${round}`);
        expect(readdirSync(join(cloned, 'a')).length + readdirSync(join(cloned, 'b')).length).toBe(20);
        await store.ok('umount', `k${round}`);
      }
    } finally {
      child.kill('SIGKILL');
    }
    await store.expectSound();
  });

  test('a full disk ends them, and nothing is left of them', { timeout: 240_000 }, async () => {
    const volume = await LoopVolume.make(scratch, 'ext4', 128 << 20);
    const store = scratch.makeStore(join(volume.path, 'store'));
    try {
      await store.make(archive, 'c1');
      const root = await store.mount('c1');
      const { bavail, bsize } = statfsSync(volume.path);
      const size = Math.floor(bavail * bsize * 0.4);
      writeFileSync(join(root, 'large'), Buffer.alloc(size, 'x'));
      await store.ok('snapshot', 'c1');
      await store.refuses(['clone', 'c1', 'c2'], { status: 1, code: 'NO_SPACE', message: /./ });
      await store.refuses(['snapshot', 'c1'], { status: 1, code: 'NO_SPACE', message: /./ });
      await store.ok('umount', 'c1');
      await store.refuses(['restore', 'c1', 'snap0'], { status: 1, code: 'NO_SPACE', message: /./ });
      expect(existsSync(join(store.path, 'private/c2'))).toBe(false);
      expectNothingHalfDone(store);
      expect(statSync(join(await store.mount('c1'), 'large')).size).toBe(size);
      await store.ok('umount', 'c1');
      await store.ok('snapshot', 'remove', 'c1', 'snap0');
      await store.ok('clone', 'c1', 'c2');
      await store.expectSound();
    } finally {
      await store.unmountAll();
      await volume.remove();
    }
  });

  test.each(['xfs', 'btrfs'] as const)('on %s', { timeout: 300_000 }, async (kind) => {
    const volume = await LoopVolume.make(scratch, kind, 400 << 20);
    const store = scratch.makeStore(join(volume.path, 'store'));
    try {
      await store.make(archive, 'c1');
      const root = await store.mount('c1');
      await change(root, 1);
      const first = await record(root);
      await store.ok('snapshot', 'c1');
      await change(root, 2);
      await store.ok('clone', 'c1@snap0', 'c2');
      await store.ok('umount', 'c1');
      await store.ok('restore', 'c1', 'snap0');
      for (const name of ['c1', 'c2']) await expectEqual(first, await store.mount(name));
      await store.unmountAll();
      await store.ok('destroy', 'c1');
      await store.expectSound();
      expectNothingHalfDone(store);
    } finally {
      await store.unmountAll();
      await volume.remove();
    }
  });
});
