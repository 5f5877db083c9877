import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { StorePaths } from '../../src/core/store-paths.js';
import { FileSystemWrites } from '../../src/store/file-system-writes.js';
import { ObjectBatch } from '../../src/store/object-batch.js';
import { namesIn } from '../../src/store/folder-names.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * A disk that takes what is written and loses it: an image on a tmpfs without space. The kernel tells of that when it writes back, and to those
 * only who had the file system open: here somebody else's sync is always the first.
 */

const scratch = useScratch();
const LOST = /not all that was written to the file system of .* is on the disk/;
const BYTES = 8 << 20;

interface Disk {
  readonly path: string;
  /** From now on nothing more fits. */
  fail(): void;
  mend(): void;
}

/** Without a journal: that would end the whole file system at the first error. */
async function makeDisk(): Promise<Disk> {
  const [below, path] = [scratch.makeFolder('below'), scratch.makeFolder('disk')];
  const [image, filler] = [join(below, 'image'), join(below, 'filler')];
  await runOk('mount', ['-t', 'tmpfs', '-o', 'size=96M', 'tmpfs', below]);
  onTestFinished(async () => { await runProgram('umount', [below]); });
  writeFileSync(image, '');
  truncateSync(image, 256 << 20);
  await runOk('mkfs.ext4', ['-q', '-O', '^has_journal', '-E', 'nodiscard,lazy_itable_init=0', image]);
  await runOk('mount', ['-o', 'loop', image, path]);
  onTestFinished(async () => { await runProgram('umount', [path]); });
  return {
    path,
    fail: () => {
      const fd = openSync(filler, 'w');
      try {
        for (const piece = Buffer.alloc(1 << 16); ; ) writeSync(fd, piece);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
      } finally {
        closeSync(fd);
      }
    },
    mend: () => { rmSync(filler); },
  };
}

/** Somebody else's: the first is told, the second is not. */
async function syncElsewhere(folder: string): Promise<void> {
  expect((await runProgram('sync', ['-f', folder])).status).not.toBe(0);
  expect((await runProgram('sync', ['-f', folder])).status).toBe(0);
}

test('who began before hears of what could not be written, once', async () => {
  const disk = await makeDisk();
  using before = FileSystemWrites.begin(disk.path);
  await runOk('sync', ['-f', disk.path]);
  disk.fail();
  writeFileSync(join(disk.path, 'lost'), Buffer.alloc(BYTES, 'x'));
  await syncElsewhere(disk.path);
  using after = FileSystemWrites.begin(disk.path);
  await after.sync();
  await expect(before.sync()).rejects.toThrow(LOST);
  await before.sync();
});

test('no object is named whose bytes another command has heard to be lost', async () => {
  const disk = await makeDisk();
  const paths = new StorePaths(join(disk.path, 'store'));
  mkdirSync(paths.store);
  const batch = await ObjectBatch.open(paths);
  await runOk('sync', ['-f', disk.path]);
  disk.fail();
  const stream = batch.openStream();
  await stream.data(BYTES, (target) => void target.fill('x'));
  stream.end();
  // The thread has written it when the disk has so much to lose.
  await expect.poll(async () => (await runProgram('sync', ['-f', disk.path])).status).not.toBe(0);
  // What is written from now on is not lost.
  disk.mend();
  await expect(batch.commit()).rejects.toThrow(LOST);
  expect(namesIn(paths.objects)).toEqual([]);
});

test('umount says that not all is on the disk', async () => {
  const disk = await makeDisk();
  const store = scratch.makeStore(join(disk.path, 'store'));
  const source = scratch.makeFolder('source');
  writeFileSync(join(source, 'file'), 'content');
  await store.make(source, 'c1');
  const root = await store.mount('c1');
  writeFileSync(join(root, 'new'), 'x');
  await runOk('sync', ['-f', disk.path]);
  disk.fail();
  writeFileSync(join(root, 'new'), Buffer.alloc(BYTES, 'x'));
  const told = await store.run(['umount', 'c1']);
  expect(told.stderr).toMatch(LOST);
  expect(told.status).toBe(1);
  disk.mend();
  await store.ok('umount', 'c1');
});
