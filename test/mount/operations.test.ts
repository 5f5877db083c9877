import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Agent, LOCK_EX, LOCK_NB, LOCK_UN, O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, hex } from '../support/agent.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;
const S_IFSOCK = 0o140000;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;

const scratch = useScratch();
const store = scratch.makeStore();
let shared = new Map<string, string>();
let count = 0;

/** The container of one test, its root, and two processes that use it. */
let name = '';
let root = '';
let agent = new Agent();
let other = new Agent();

beforeAll(async () => {
  await agent.end();
  await other.end();
  await store.make(await buildRoot(scratch.path('template')));
  shared = store.sharedFiles();
});
beforeEach(async () => {
  name = `c${++count}`;
  await store.ok('create', name, '--ostemplate', 't');
  root = await store.mount(name);
  agent = new Agent();
  other = new Agent();
});
afterEach(async () => {
  await agent.end();
  await other.end();
  // Not by force: a descriptor that the engine forgot to release would keep the root busy.
  await store.ok('umount', name);
  await store.ok('destroy', name);
});
afterAll(async () => {
  await agent.end();
  await other.end();
  expect(store.sharedFiles()).toEqual(shared);
  await store.expectSound();
});

/** Unmounts and mounts; the processes' descriptors are closed by their end. */
async function remount(): Promise<void> {
  await agent.end();
  await other.end();
  root = await store.remount(name);
  agent = new Agent();
  other = new Agent();
}

const at = (path: string): string => join(root, path);

describe('files', () => {
  test.each(['usr/lib', 'data'])('create, write, append, truncate in %s; all of it is there after a remount', async (top) => {
    const fd = await agent.open(at(`${top}/new`), O_RDWR | O_CREAT | O_EXCL, 0o640);
    await agent.write(fd, 'hello');
    expect(await other.get(at(`${top}/new`))).toBe('hello');
    expect(await agent.errno('open', at(`${top}/new`), O_CREAT | O_EXCL | O_RDWR)).toBe('EEXIST');
    await agent.call('fsync', fd);
    await agent.put(at(`${top}/new`), ' world', O_WRONLY | O_APPEND);
    await agent.put(at(`${top}/file`), 'appended\n', O_WRONLY | O_APPEND);
    await agent.call('truncate', at(`${top}/size-65536`), 1000);
    await agent.call('truncate', at(`${top}/size-4096`), 100_000);
    await agent.put(at(`${top}/other`), 'replaced\n', O_WRONLY | O_TRUNC);
    const inode = (await agent.stat(at(`${top}/new`))).ino;
    const check = async (): Promise<void> => {
      expect(await agent.get(at(`${top}/new`))).toBe('hello world');
      expect(await agent.get(at(`${top}/file`))).toBe('from the template\nappended\n');
      expect(await agent.stat(at(`${top}/size-65536`))).toMatchObject({ size: 1000, nlink: 1 });
      const grown = await agent.open(at(`${top}/size-4096`));
      expect(await agent.read(grown, 200_000, 4096)).toBe('\0'.repeat(100_000 - 4096));
      await agent.close(grown);
      expect(await agent.get(at(`${top}/other`))).toBe('replaced\n');
      expect(await agent.stat(at(`${top}/new`))).toMatchObject({ mode: S_IFREG | 0o640, size: 11, ino: inode });
    };
    await check();
    await remount();
    await check();
  });

  test.each(['usr/lib', 'data'])('a file that is unlinked while open lives on in %s', async (top) => {
    const old = await agent.open(at(`${top}/file`), O_RDWR);
    const made = await agent.open(at(`${top}/made`), O_RDWR | O_CREAT);
    await agent.write(made, 'made');
    await agent.call('unlink', at(`${top}/file`));
    await agent.call('unlink', at(`${top}/made`));
    expect(await other.errno('open', at(`${top}/file`), O_RDONLY)).toBe('ENOENT');
    expect(await agent.read(old)).toBe('from the template\n');
    await agent.write(old, 'written later');
    await agent.write(made, ' more', 4);
    expect(await agent.read(old, 13)).toBe('written later');
    expect(await agent.read(made)).toBe('made more');
    expect(await agent.stat(old)).toMatchObject({ nlink: 0 });
    expect(await agent.stat(made)).toMatchObject({ nlink: 0, size: 9 });
    // Another file at the old name has nothing to do with it.
    await other.put(at(`${top}/file`), 'successor');
    expect(await agent.read(old, 13)).toBe('written later');
    await store.killWorker(name);
    expect(await agent.read(made)).toBe('made more');
    await remount();
    expect(await agent.get(at(`${top}/file`))).toBe('successor');
    expect(await agent.names(at(top))).not.toContain('made');
  });

  test('fallocate, holes, statfs, fsync of files and folders', async () => {
    const fd = await agent.open(at('data/size-65536'), O_RDWR);
    const before = await agent.read(fd, 65_536);
    await agent.call('fallocate', fd, FALLOC_KEEP_SIZE, 65_536, 100_000);
    expect((await agent.stat(fd)).size).toBe(65_536);
    await agent.call('fallocate', fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 8192);
    expect(await agent.read(fd, 65_536)).toBe(before.slice(0, 4096) + '\0'.repeat(8192) + before.slice(12_288));
    await agent.call('fallocate', fd, FALLOC_ZERO_RANGE, 20_000, 10);
    expect(await agent.read(fd, 20, 19_995)).toBe(before.slice(19_995, 20_000) + '\0'.repeat(10) + before.slice(20_010, 20_015));
    await agent.call('fallocate', fd, 0, 65_536, 4096);
    expect((await agent.stat(fd)).size).toBe(69_632);
    await agent.call('fsync', fd);
    await agent.call('fdatasync', fd);
    const folder = await agent.open(at('data'));
    await agent.call('fsync', folder);
    await agent.close(folder);
    const space = (await agent.call('statvfs', root)) as Record<string, number>;
    const host = (await agent.call('statvfs', store.path)) as Record<string, number>;
    expect(space['blocks']).toBeGreaterThan(0);
    expect((space['blocks'] ?? 0) * (space['frsize'] ?? 0)).toBe((host['blocks'] ?? 0) * (host['frsize'] ?? 0));
    expect(space['namemax']).toBe(255);
    await agent.close(fd);
  });

  test('a template file is private after its first write, and the other containers do not see it', async () => {
    const neighbour = `${name}-neighbour`;
    await store.ok('create', neighbour, '--ostemplate', 't');
    const elsewhere = await store.mount(neighbour);
    await agent.put(at('usr/lib/file'), 'mine\n');
    await agent.call('unlink', at('usr/lib/other'));
    await agent.call('rename', at('usr/lib/folder'), at('usr/lib/moved'));
    expect(await other.get(join(elsewhere, 'usr/lib/file'))).toBe('from the template\n');
    expect(await other.get(join(elsewhere, 'usr/lib/other'))).toBe('another file of the template\n');
    expect(await other.get(join(elsewhere, 'usr/lib/folder/inner'))).toBe('inner\n');
    await store.ok('umount', neighbour);
    await store.ok('destroy', neighbour);
  });
});

describe('copy-up while others have the file open', () => {
  test('in /usr an old descriptor keeps the old bytes, and new opens see the new ones', async () => {
    const reader = await other.open(at('usr/lib/file'));
    expect(await other.read(reader)).toBe('from the template\n');
    const map = await other.map(reader, 18);
    await agent.put(at('usr/lib/file'), 'entirely new content\n');
    expect(await other.read(reader, 18)).toBe('from the template\n');
    expect(await other.mapRead(map, 18)).toBe('from the template\n');
    expect(await other.get(at('usr/lib/file'))).toBe('entirely new content\n');
    const writer = await agent.open(at('usr/lib/file'), O_RDWR);
    await agent.write(writer, 'ENTIRELY');
    expect(await other.get(at('usr/lib/file'))).toBe('ENTIRELY new content\n');
    expect((await other.stat(at('usr/lib/file'))).ino).toBe((await other.stat(reader)).ino);
    await other.close(reader);
  });

  test.each(['data', 'home'])('in /%s an old descriptor and an old mapping see the new bytes', async (top) => {
    const path = at(top === 'data' ? 'data/file' : 'home/private');
    const reader = await other.open(path);
    const old = await other.read(reader);
    const map = await other.map(reader, old.length);
    const fresh = 'N'.repeat(old.length - 1) + '\n';
    const writer = await agent.open(path, O_RDWR);
    await agent.write(writer, fresh);
    expect(await other.read(reader)).toBe(fresh);
    expect(await other.mapRead(map, fresh.length)).toBe(fresh);
    expect(await other.get(path)).toBe(fresh);
    await agent.close(writer);
    await agent.put(path, 'shorter', O_WRONLY | O_TRUNC);
    expect(await other.read(reader)).toBe('shorter');
    await other.close(reader);
  });

  test.each([
    ['O_TRUNC', async (path: string) => agent.put(path, 'new\n', O_WRONLY | O_TRUNC)],
    ['O_APPEND', async (path: string) => agent.put(path, 'new\n', O_WRONLY | O_APPEND)],
    ['truncate(2)', async (path: string) => agent.call('truncate', path, 4)],
    ['O_RDWR', async (path: string) => agent.put(path, 'new\n', O_RDWR)],
  ])('every way to change a file works in /usr while readers have it open: %s', async (_how, change) => {
    const path = at('usr/lib/other');
    const readers = [await other.open(path), await agent.open(path)];
    await change(path);
    expect(await other.get(path)).not.toBe('another file of the template\n');
    for (const [index, who] of [other, agent].entries()) expect(await who.read(readers[index] ?? -1)).toBe('another file of the template\n');
  });

  test('a mapping that is written through reaches the container’s own file, never the template', async () => {
    for (const top of ['usr/lib', 'data']) {
      const reader = await other.open(at(`${top}/size-65536`));
      const writer = await agent.open(at(`${top}/size-65536`), O_RDWR);
      await agent.mapWrite(await agent.map(writer, 65_536, true), 'STORED', 30_000);
      const fresh = await other.open(at(`${top}/size-65536`));
      expect(await other.read(fresh, 6, 30_000)).toBe('STORED');
      await other.close(reader);
    }
    expect(store.sharedFiles()).toEqual(shared);
  });

  test('a running program cannot be written; its replacement can be put in place', async () => {
    expect(await agent.errno('execv', at('bin/none'), ['none'])).toBe('ENOENT');
    const sleeper = new Agent();
    void sleeper.call('execv', at('bin/sleep'), ['sleep', '30']).catch(() => undefined);
    await expect.poll(() => agent.call('readlink', `/proc/${sleeper.pid}/exe`)).toBe(at('bin/busybox'));
    expect(await agent.errno('open', at('bin/busybox'), O_RDWR)).toBe('ETXTBSY');
    await agent.put(at('bin/busybox.new'), 'replaced');
    await agent.call('rename', at('bin/busybox.new'), at('bin/busybox'));
    expect(await agent.get(at('bin/busybox'))).toBe('replaced');
    sleeper.kill();
    await sleeper.end();
  });
});

describe('names', () => {
  test('mkdir, rmdir, symlink, rename; whiteouts survive a remount', async () => {
    await agent.call('mkdir', at('data/made'), 0o750);
    await agent.call('symlink', '../target of a link', at('data/made/link'));
    await agent.call('unlink', at('data/file'));
    await agent.call('unlink', at('data/many/entry-0007'));
    expect(await agent.errno('rmdir', at('data/folder'))).toBe('ENOTEMPTY');
    await agent.call('unlink', at('usr/lib/folder/deeper/deepest/leaf'));
    await agent.call('rmdir', at('usr/lib/folder/deeper/deepest'));
    await agent.call('rmdir', at('usr/lib/folder/deeper'));
    await agent.call('rename', at('data/folder'), at('srv/closed/renamed'));
    await agent.call('rename', at('data/other'), at('usr/lib/other'));
    const check = async (): Promise<void> => {
      expect(await agent.stat(at('data/made'))).toMatchObject({ mode: 0o040750, nlink: 2 });
      expect(await agent.call('readlink', at('data/made/link'))).toBe('../target of a link');
      expect(await agent.errno('lstat', at('data/file'))).toBe('ENOENT');
      expect(await agent.names(at('data'))).not.toContain('file');
      expect(await agent.names(at('data/many'))).toHaveLength(299);
      expect(await agent.errno('lstat', at('usr/lib/folder/deeper'))).toBe('ENOENT');
      expect(await agent.names(at('usr/lib/folder'))).toEqual(['hard-c', 'inner']);
      expect(await agent.errno('lstat', at('data/folder'))).toBe('ENOENT');
      expect(await agent.get(at('srv/closed/renamed/deeper/deepest/leaf'))).toBe('leaf\n');
      expect(await agent.get(at('usr/lib/other'))).toBe('another file of the template\n');
    };
    await check();
    await remount();
    await check();
    // A name whose whiteout is there can be used again, and does not let the template's content shine through.
    await agent.call('mkdir', at('usr/lib/folder/deeper'));
    expect(await agent.names(at('usr/lib/folder/deeper'))).toEqual([]);
    await agent.call('mkdir', at('data/folder'));
    await agent.put(at('data/file'), 'second life');
    await remount();
    expect(await agent.names(at('usr/lib/folder/deeper'))).toEqual([]);
    expect(await agent.names(at('data/folder'))).toEqual([]);
    expect(await agent.get(at('data/file'))).toBe('second life');
  });

  test('renames with flags', async () => {
    expect(await agent.errno('renameat2', at('data/file'), at('data/other'), RENAME_NOREPLACE)).toBe('EEXIST');
    await agent.call('renameat2', at('data/file'), at('usr/lib/folder'), RENAME_EXCHANGE);
    expect(await agent.get(at('usr/lib/folder'))).toBe('from the template\n');
    expect(await agent.get(at('data/file/deeper/deepest/leaf'))).toBe('leaf\n');
    await agent.call('renameat2', at('data/many'), at('data/moved'), RENAME_NOREPLACE);
    expect(await agent.names(at('data/moved'))).toHaveLength(300);
    expect(await agent.errno('rename', at('data/moved'), at('data/moved/below'))).toBe('EINVAL');
    expect(await agent.errno('rename', at('data/moved'), at('data/other'))).toBe('ENOTDIR');
    expect(await agent.errno('rename', at('data/other'), at('data/moved'))).toBe('EISDIR');
    await remount();
    expect(await agent.get(at('usr/lib/folder'))).toBe('from the template\n');
    expect(await agent.names(at('data/moved'))).toHaveLength(300);
    expect(await agent.errno('lstat', at('data/many'))).toBe('ENOENT');
  });

  test('renaming a large folder of the template copies nothing', async () => {
    await agent.call('rename', at('usr'), at('usr-moved'));
    expect(await agent.get(at('usr-moved/lib/many/entry-0123'))).toBe('entry 41\n');
    const info = await store.info(name);
    expect(info).toMatchObject({ privateFiles: 0, links: 0 });
    await remount();
    expect(await agent.get(at('usr-moved/lib/many/entry-0123'))).toBe('entry 41\n');
    expect(await agent.errno('lstat', at('usr'))).toBe('ENOENT');
  });

  test('st_ino stays over copy-up, rename, a killed worker and a remount; d_ino is the same', async () => {
    const paths = ['usr/lib/file', 'data/file', 'data/folder', 'data/hard-a', 'data/symlink', 'dev/null', 'run/fifo'];
    const inodes = new Map<string, number>();
    for (const path of paths) inodes.set(path, (await agent.stat(at(path))).ino);
    const check = async (moved: string): Promise<void> => {
      for (const [path, inode] of inodes) {
        expect((await agent.stat(at(path + moved))).ino, path).toBe(inode);
        const entries = (await agent.call('entries', at(join(path, '..')))) as [string, number, boolean][];
        const base = path.slice(path.lastIndexOf('/') + 1) + moved;
        expect(entries.find(([entry]) => entry === base)?.[1], path).toBe(inode);
      }
      expect(new Set(inodes.values()).size).toBe(inodes.size);
    };
    for (const path of paths) await agent.call('chown', at(path), 7, 8, { follow_symlinks: false });
    for (const path of ['usr/lib/file', 'data/file', 'data/hard-a']) await agent.put(at(path), 'x', O_WRONLY | O_APPEND);
    await check('');
    for (const path of paths) await agent.call('rename', at(path), at(`${path}-renamed`));
    await check('-renamed');
    await store.killWorker(name);
    await check('-renamed');
    await remount();
    await check('-renamed');
    // New files never get a number that another has or had.
    await agent.call('unlink', at('data/file-renamed'));
    await agent.put(at('data/fresh'), 'fresh');
    expect([...inodes.values()]).not.toContain((await agent.stat(at('data/fresh'))).ino);
  });
});

describe('hard links', () => {
  test.each(['usr/lib', 'data'])('those of the template stay together after a write in %s', async (top) => {
    const names = ['hard-a', 'hard-b', 'folder/hard-c'];
    await agent.put(at(`${top}/hard-b`), 'changed\n', O_WRONLY | O_TRUNC);
    const check = async (left: readonly string[]): Promise<void> => {
      const found = await Promise.all(left.map((path) => agent.stat(at(`${top}/${path}`))));
      expect(new Set(found.map(({ ino }) => ino)).size).toBe(1);
      for (const { nlink } of found) expect(nlink).toBe(left.length);
      for (const path of left) expect(await agent.get(at(`${top}/${path}`)), path).toBe('changed\n');
    };
    await check(names);
    await remount();
    await check(names);
    await agent.call('link', at(`${top}/hard-a`), at('srv/fourth'));
    expect((await agent.stat(at('srv/fourth'))).nlink).toBe(4);
    await agent.call('unlink', at('srv/fourth'));
    await agent.call('unlink', at(`${top}/hard-a`));
    await check(names.slice(1));
    await agent.call('rename', at(`${top}/hard-b`), at(`${top}/folder/hard-d`));
    await remount();
    await check(['folder/hard-c', 'folder/hard-d']);
    expect(await agent.names(at(`${top}/folder`))).toEqual(['deeper', 'hard-c', 'hard-d', 'inner']);
  });

  test('link(2) copies no content, also not what dpkg does before it replaces a file', async () => {
    const inode = (await agent.stat(at('usr/lib/size-1000003'))).ino;
    await agent.call('link', at('usr/lib/size-1000003'), at('usr/lib/size-1000003.dpkg-tmp'));
    expect(await agent.stat(at('usr/lib/size-1000003.dpkg-tmp'))).toMatchObject({ nlink: 2, ino: inode });
    expect((await store.info(name)).privateFiles).toBe(0);
    await agent.put(at('usr/lib/size-1000003.dpkg-new'), 'new version');
    await agent.call('rename', at('usr/lib/size-1000003.dpkg-new'), at('usr/lib/size-1000003'));
    await agent.call('unlink', at('usr/lib/size-1000003.dpkg-tmp'));
    await remount();
    expect(await agent.get(at('usr/lib/size-1000003'))).toBe('new version');
    expect(await agent.errno('link', at('usr/lib'), at('lib-link'))).toBe('EPERM');
  });

  test('a descriptor without a name can be given one', async () => {
    const fd = await agent.open(at('data'), 0o20200000 | O_RDWR, 0o600);
    await agent.write(fd, 'without a name');
    expect((await agent.stat(fd)).nlink).toBe(0);
    await agent.call('linkfd', fd, at('data/named'));
    await agent.close(fd);
    await remount();
    expect(await agent.get(at('data/named'))).toBe('without a name');
  });
});

describe('metadata', () => {
  test('owners, modes, times and devices survive a remount', async () => {
    await agent.call('mknod', at('dev/made'), S_IFCHR | 0o640, await agent.call('makedev', 5, 1));
    await agent.call('mknod', at('dev/block'), S_IFBLK | 0o600, await agent.call('makedev', 8, 300));
    await agent.call('mkfifo', at('run/made-fifo'), 0o644);
    await agent.call('mknod', at('run/made-socket'), S_IFSOCK | 0o600, 0);
    await agent.call('chmod', at('bin/busybox'), 0o4711);
    await agent.call('chown', at('usr/lib/file'), 1000, 4_000_000_000);
    await agent.call('utime', at('data/file'), { ns: [1_234_567_890_123_456, -987_654_321] });
    const check = async (): Promise<void> => {
      expect(await agent.stat(at('dev/made'))).toMatchObject({ mode: S_IFCHR | 0o640, rdev: 5 * 256 + 1 });
      expect((await agent.stat(at('dev/block'))).rdev).toBe(await agent.call('makedev', 8, 300));
      expect((await agent.stat(at('run/made-fifo'))).mode & S_IFMT).toBe(S_IFIFO);
      expect((await agent.stat(at('run/made-socket'))).mode & S_IFMT).toBe(S_IFSOCK);
      expect((await agent.stat(at('bin/busybox'))).mode).toBe(S_IFREG | 0o4711);
      expect(await agent.stat(at('usr/lib/file'))).toMatchObject({ uid: 1000, gid: 4_000_000_000 });
      expect((await agent.stat(at('data/file'))).mtimeNs).toBe('-987654321');
    };
    await check();
    await remount();
    await check();
  });

  test('the mtime of a file and of its folder moves with a write, also with one through a mapping', async () => {
    const old = (await agent.stat(at('data/size-65536'))).mtimeNs;
    const fd = await agent.open(at('data/size-65536'), O_RDWR);
    await agent.mapWrite(await agent.map(fd, 65_536, true), 'x', 0);
    expect((await agent.stat(at('data/size-65536'))).mtimeNs).not.toBe(old);
    await agent.close(fd);
    const folder = (await agent.stat(at('srv/group'))).mtimeNs;
    await agent.put(at('srv/group/new'), '');
    expect((await agent.stat(at('srv/group'))).mtimeNs).not.toBe(folder);
    expect((await agent.stat(at('srv/group/new'))).gid).toBe(1001);
  });

  test('xattrs of files, folders and links', async () => {
    await agent.call('setxattr', at('usr/lib/file'), 'user.new', hex('value'));
    await agent.call('setxattr', at('data/annotated'), 'user.note', hex('changed'));
    await agent.call('removexattr', at('data/annotated'), 'user.empty');
    await agent.call('setxattr', at('srv'), 'trusted.folder', hex('on a folder'));
    await agent.call('setxattr', at('data/symlink'), 'trusted.link', hex('on a symlink'), { follow_symlinks: false });
    expect(await agent.errno('setxattr', at('data/annotated'), 'user.note', hex('x'), 1)).toBe('EEXIST');
    expect(await agent.errno('getxattr', at('data/annotated'), 'user.none')).toBe('ENODATA');
    const check = async (): Promise<void> => {
      expect(await agent.call('getxattr', at('usr/lib/file'), 'user.new')).toBe(Buffer.from('value').toString('hex'));
      expect(await agent.call('listxattr', at('usr/lib/file'))).toEqual(['user.new']);
      expect(((await agent.call('listxattr', at('data/annotated'))) as string[]).sort()).toEqual(['trusted.for-root', 'user.binary', 'user.note']);
      expect(await agent.call('getxattr', at('srv'), 'trusted.folder')).toBe(Buffer.from('on a folder').toString('hex'));
      expect(await agent.call('listxattr', at('data/symlink'), { follow_symlinks: false })).toEqual(['trusted.link']);
    };
    await check();
    await remount();
    await check();
  });

  test('permissions and ACLs hold for users who are not root', async () => {
    await other.call('become', 1000, 1000);
    expect(await other.errno('open', at('home/private'), O_RDONLY)).toBe('OK');
    expect(await other.errno('open', at('home/nobody-may'), O_RDONLY)).toBe('EACCES');
    expect(await other.errno('open', at('data/file'), O_RDWR)).toBe('EACCES');
    expect(await other.errno('unlink', at('data/file'))).toBe('EACCES');
    // data/acl is 0640 root:root with user 1000: rwx.
    expect(await other.errno('open', at('data/acl'), O_RDWR)).toBe('OK');
    await agent.put(at('srv/acl/made'), 'by root');
    const inherited = (await agent.call('listxattr', at('srv/acl/made'))) as string[];
    expect(inherited).toContain('system.posix_acl_access');
    const stranger = new Agent();
    await stranger.call('become', 2000, 2000);
    expect(await stranger.errno('open', at('data/acl'), O_RDONLY)).toBe('EACCES');
    expect(await stranger.errno('listdir', at('srv/closed'))).toBe('EACCES');
    expect(await stranger.errno('open', at('tmp/by-stranger'), O_CREAT | O_RDWR)).toBe('OK');
    expect(await agent.stat(at('tmp/by-stranger'))).toMatchObject({ uid: 2000, gid: 2000 });
    expect(await other.errno('unlink', at('tmp/by-stranger'))).toBe('EPERM');
    expect(await other.errno('setxattr', at('tmp/by-stranger'), 'trusted.mine', hex('x'))).toBe('EPERM');
    await stranger.end();
  });

  test('locks exclude one another', async () => {
    const mine = await agent.open(at('data/file'), O_RDWR);
    const theirs = await other.open(at('data/file'), O_RDWR);
    await agent.call('flock', mine, LOCK_EX);
    expect(await other.errno('flock', theirs, LOCK_EX | LOCK_NB)).toBe('EAGAIN');
    await agent.call('flock', mine, LOCK_UN);
    expect(await other.errno('flock', theirs, LOCK_EX | LOCK_NB)).toBe('OK');
    await agent.call('lockf', mine, LOCK_EX);
    expect(await other.errno('lockf', theirs, LOCK_EX | LOCK_NB)).toMatch(/^(EAGAIN|EACCES)$/);
  });
});

describe('what a container must not reach', () => {
  const INTERNAL = 'trusted.templatefs.node';

  test('the xattrs of the private area are neither seen nor set', async () => {
    await agent.put(at('data/file'), 'copied up');
    await agent.put(at('data/made'), 'made');
    await agent.call('chmod', at('usr/lib/file'), 0o600);
    for (const path of ['data/file', 'data/made', 'usr/lib/file', 'usr/lib/other', 'data', '']) {
      expect(await agent.call('listxattr', at(path)), path).not.toContain(INTERNAL);
      expect(await agent.errno('getxattr', at(path), INTERNAL), path).toBe('ENODATA');
      expect(await agent.errno('setxattr', at(path), INTERNAL, hex('\x01\x01')), path).toBe('EPERM');
      expect(await agent.errno('setxattr', at(path), 'trusted.templatefs.anything', hex('x')), path).toBe('EPERM');
      expect(['EPERM', 'ENODATA'], path).toContain(await agent.errno('removexattr', at(path), INTERNAL));
    }
    await remount();
    expect(await agent.get(at('data/file'))).toBe('copied up');
    expect(await agent.get(at('data/made'))).toBe('made');
  });

  test('a 0:0 device is an ordinary device and hides nothing', async () => {
    if (process.env['TEMPLATEFS_TEST_VOLUME'] === 'overlay') {
      // overlayfs keeps them for itself, so a store on it cannot have them either: docs/architecture.md.
      expect(await agent.errno('mknod', at('data/zero'), S_IFCHR | 0o600, 0)).toBe('EPERM');
      expect(await agent.errno('renameat2', at('data/file'), at('data/moved'), RENAME_WHITEOUT)).toBe('EINVAL');
      expect(await agent.get(at('data/file'))).toBe('from the template\n');
      return;
    }
    await agent.call('mknod', at('data/zero'), S_IFCHR | 0o600, 0);
    await agent.call('rename', at('data/zero'), at('data/file'));
    await agent.call('mknod', at('data/zero-2'), S_IFCHR | 0o600, 0);
    const check = async (): Promise<void> => {
      for (const path of ['data/file', 'data/zero-2']) expect(await agent.stat(at(path))).toMatchObject({ mode: S_IFCHR | 0o600, rdev: 0, nlink: 1 });
      expect(await agent.names(at('data'))).toEqual(expect.arrayContaining(['file', 'zero-2']));
    };
    await check();
    await remount();
    await check();
    await agent.call('unlink', at('data/file'));
    expect(await agent.errno('lstat', at('data/file'))).toBe('ENOENT');
  });

  test('RENAME_WHITEOUT leaves no whiteout of the private area behind', async () => {
    const errno = await agent.errno('renameat2', at('data/file'), at('data/moved'), RENAME_WHITEOUT);
    if (errno === 'OK') {
      expect(await agent.stat(at('data/file'))).toMatchObject({ rdev: 0 });
      expect((await agent.stat(at('data/file'))).mode & S_IFMT).toBe(S_IFCHR);
      await remount();
      expect((await agent.stat(at('data/file'))).mode & S_IFMT).toBe(S_IFCHR);
    } else expect(errno).toBe('EINVAL');
  });

  test('names that the private area uses for itself are ordinary in the root', async () => {
    for (const path of ['inodes', 'staging', 'lock', 'container', 'inos', 'root/root']) await agent.put(at(path), `mine: ${path}`);
    await remount();
    for (const path of ['inodes', 'staging', 'lock', 'container', 'inos', 'root/root']) expect(await agent.get(at(path))).toBe(`mine: ${path}`);
    expect(existsSync(join(store.path, 'private', name, 'container'))).toBe(true);
  });

  test('paths that lead out of the root stay in the root’s own file system', async () => {
    await agent.call('symlink', '../../../../../../../../etc/hostname', at('data/out'));
    expect(await agent.call('readlink', at('data/out'))).toBe('../../../../../../../../etc/hostname');
    for (const bad of ['n'.repeat(256), 'x/'.repeat(10)]) expect(['ENAMETOOLONG', 'ENOENT']).toContain(await agent.errno('open', at(`data/${bad}`), O_CREAT | O_RDWR));
  });
});
