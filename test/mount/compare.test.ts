import { beforeAll, describe, expect, test } from 'vitest';
import { PYTHON } from '../support/project.js';
import { buildRoot, compareTrees, packTar, unpackTar } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

const scratch = useScratch();

/** Makes every entry of a root private, one way or the other. */
async function touchAll(root: string, how: string): Promise<void> {
  const script = `
import os, stat, sys
root = os.fsencode(sys.argv[1])
for parent, folders, files in os.walk(root, topdown=False):
    for name in files + folders + ([b''] if parent == root else []):
        path = os.path.join(parent, name)
        status = os.lstat(path)
        ${how}
`;
  await runOk(PYTHON, ['-c', script, root]);
}

/** A chmod to another mode and back; symlinks have none. */
const CHMOD = `
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(path, 0o777); os.chmod(path, stat.S_IMODE(status.st_mode))`;
const CHOWN = `
        os.chown(path, 4711, 4712, follow_symlinks=False)
        os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(path, stat.S_IMODE(status.st_mode))
        if path.endswith(b'/capable'):
            import struct
            os.setxattr(path, 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10 | 1 << 13, 0, 0, 0))`;
/** Opening for writing copies the content, and is no change that anybody could see. */
const OPEN_FOR_WRITING = `
        if stat.S_ISREG(status.st_mode):
            os.close(os.open(path, os.O_RDWR))`;
/** The last byte written again; and what a write takes away put back: the time, and file capabilities. */
const WRITE = `
        if stat.S_ISREG(status.st_mode) and status.st_size > 0:
            kept = {n: os.getxattr(path, n) for n in os.listxattr(path) if n == 'security.capability'}
            fd = os.open(path, os.O_RDWR)
            os.pwrite(fd, os.pread(fd, 1, status.st_size - 1), status.st_size - 1)
            os.close(fd)
            os.chmod(path, stat.S_IMODE(status.st_mode))
            for name, value in kept.items():
                os.setxattr(path, name, value)
            os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))`;

describe('a root shows exactly what was imported', () => {
  let archive = '';
  let wanted = '';

  beforeAll(async () => {
    const folder = await buildRoot(scratch.path('built'));
    archive = await packTar(folder, scratch.path('root.tar'));
    wanted = await unpackTar(archive, scratch.makeFolder('unpacked'));
  });

  const expectSame = async (root: string): Promise<void> => {
    const { differences, entries } = await compareTrees(wanted, root);
    expect(differences).toBe('');
    expect(entries).toBeGreaterThan(700);
  };

  test.each([
    ['chmod', CHMOD],
    ['chown and back', CHOWN],
    ['opening for writing', OPEN_FOR_WRITING],
    ['writing', WRITE],
  ])('fresh, after copy-up of every file by %s, and after a remount', async (_name, how) => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    const shared = store.sharedFiles();
    const root = await store.mount('c1');
    await expectSame(root);
    await touchAll(root, how);
    await expectSame(root);
    await store.remount('c1');
    await expectSame(root);
    await store.killWorker('c1');
    await expectSame(root);
    await store.ok('umount', 'c1');
    expect(store.sharedFiles()).toEqual(shared);
    await store.expectSound();
  });

  test('copying up by chmod takes no content', async () => {
    const store = scratch.makeStore();
    await store.make(archive, 'c1');
    await touchAll(await store.mount('c1'), CHMOD);
    const info = await store.info('c1');
    expect(info.links).toBeGreaterThan(600);
    expect(info.privateFiles).toBeLessThan(20);
    await store.ok('umount', 'c1');
    expect((await store.info('c1')).privateBytes).toBeLessThan(2 << 20);
  });

  test('all ways to compress give the same tree', async () => {
    const store = scratch.makeStore();
    await store.ok('template', 'import', 'plain', archive);
    const commands = { gz: 'gzip -1', xz: 'xz -0', zst: 'zstd -1' };
    for (const [name, command] of Object.entries(commands)) {
      const packed = scratch.path(`root.tar.${name}`);
      await runOk('sh', ['-c', `${command} -c < "$1" > "$2"`, 'sh', archive, packed]);
      await store.ok('template', 'import', name, packed);
    }
    const { readFileSync } = await import('node:fs');
    const piped = await store.run(['template', 'import', 'stdin', '-'], { input: readFileSync(archive) });
    expect(piped.status, piped.stderr).toBe(0);
    const templates = (await store.json('template', 'list')) as { tree: string }[];
    expect(templates).toHaveLength(5);
    expect(new Set(templates.map(({ tree }) => tree)).size).toBe(1);
  });
});

test('a folder that is imported is shown exactly, sockets among it', async () => {
  const folder = await buildRoot(scratch.path('built'), '--socket');
  const store = scratch.makeStore();
  await store.make(folder, 'c1');
  const root = await store.mount('c1');
  expect((await compareTrees(folder, root)).differences).toBe('');
});
