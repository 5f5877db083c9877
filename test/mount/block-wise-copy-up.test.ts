import { randomBytes } from 'node:crypto';
import { closeSync, constants, copyFileSync, fstatSync, fsyncSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { PYTHON, supportFile } from '../support/project.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Large template files, of which only the changed blocks become private: docs/decisions/0003-block-wise-copy-up.md.
 */
const MIB = 1024 * 1024;
const BIG_BYTES = 40 * MIB + 1234;

const scratch = useScratch();
const store = scratch.makeStore();
let template = '';
let root = '';

beforeAll(async () => {
  template = scratch.makeFolder('template');
  for (const top of ['usr', 'data']) {
    mkdirSync(join(template, top));
    for (const name of ['big', 'first', 'whole', 'cut', 'old', 'reserved']) writeFileSync(join(template, top, name), randomBytes(name === 'big' ? BIG_BYTES : 3 * MIB));
    for (let i = 0; i < 6; i++) writeFileSync(join(template, top, `random${i}`), randomBytes(2 * MIB + i * 777));
    await runOk('truncate', ['--size', String(6 * MIB), join(template, top, 'random5')]);
  }
  await store.make(template, 'c1');
  root = await store.mount('c1');
});

function privateBlocks(path: string): number {
  return statSync(join(store.path, 'private/c1/root', path)).blocks * 512;
}

describe.each(['usr', 'data'])('a large template file in /%s', (top) => {
  test('the first write copies a block, not the file', () => {
    const fd = openSync(join(root, top, 'big'), 'r+');
    writeSync(fd, 'changed', 10 * MIB + 5);
    const wanted = readFileSync(join(template, top, 'big'));
    wanted.write('changed', 10 * MIB + 5);
    expect(readFileSync(join(root, top, 'big')).equals(wanted)).toBe(true);
    expect(fstatSync(fd).size).toBe(BIG_BYTES);
    closeSync(fd);
    // A file system with reflinks shares the blocks instead, and calls them allocated.
    if (privateBlocks(`${top}/big`) < BIG_BYTES) expect(privateBlocks(`${top}/big`)).toBeLessThan(MIB);
  });

  // A host calls a preallocated block a hole until a read of its neighbours brings it into the page cache.
  test('reserved space shows the object, whatever of the host file is in the page cache', async () => {
    const path = join(top, 'reserved');
    const host = join(store.path, 'private/c1/root', path);
    expect(await runOk(PYTHON, [supportFile('reserve_space.py'), join(root, path), host])).toBe('same\n'.repeat(3));
  });

  test('readers from before see what DESIGN promises: new bytes in a mutable path, the old ones in a shared path', () => {
    const path = join(root, top, 'old');
    const reader = openSync(path, 'r');
    const before = Buffer.alloc(10);
    readSync(reader, before, 0, 10, MIB);
    const writer = openSync(path, 'r+');
    writeSync(writer, 'new bytes!', MIB);
    const after = Buffer.alloc(10);
    readSync(reader, after, 0, 10, MIB);
    expect(after.toString('latin1')).toBe(top === 'data' ? 'new bytes!' : before.toString('latin1'));
    closeSync(reader);
    closeSync(writer);
    expect(readFileSync(path).toString('latin1', MIB, MIB + 10)).toBe('new bytes!');
  });

  test('outlives a killed worker and a remount', async () => {
    const path = join(root, top, 'first');
    const wanted = readFileSync(join(template, top, 'first'));
    const fd = openSync(path, 'r+');
    for (let i = 0; i < 20; i++) {
      const piece = randomBytes(3000);
      const at = Math.floor(Math.random() * (wanted.length - 3000));
      piece.copy(wanted, at);
      writeSync(fd, piece, 0, piece.length, at);
      if (i % 5 === 0) await store.killWorker('c1');
    }
    closeSync(fd);
    expect(readFileSync(path).equals(wanted)).toBe(true);
    root = await store.remount('c1');
    expect(readFileSync(path).equals(wanted)).toBe(true);
  });

  test('what was cut off is zeros when it grows again, also after a remount', async () => {
    const path = join(root, top, 'cut');
    const wanted = readFileSync(join(template, top, 'cut'));
    wanted.fill(0, MIB + 10);
    await runOk('truncate', ['--size', String(MIB + 10), path]);
    await runOk('truncate', ['--size', String(3 * MIB), path]);
    expect(readFileSync(path).equals(wanted)).toBe(true);
    root = await store.remount('c1');
    expect(readFileSync(path).equals(wanted)).toBe(true);
  });

  test('written to as a whole and synced, it is an ordinary file again', async () => {
    const path = join(root, top, 'whole');
    const wanted = randomBytes(3 * MIB);
    const fd = openSync(path, 'r+');
    writeSync(fd, wanted);
    fsyncSync(fd);
    closeSync(fd);
    expect(await runOk('getfattr', ['--absolute-names', '-n', 'trusted.templatefs.node', '-e', 'hex', join(store.path, 'private/c1/root', top, 'whole')])).toMatch(/=0x0100/);
    expect(readFileSync(path).equals(wanted)).toBe(true);
  });

  test.each([0, 1, 2, 3, 4, 5])('random changes give the same as on a plain file: random%d', async (seed) => {
    const plain = scratch.path(`plain-${top}-${seed}`);
    copyFileSync(join(template, top, `random${seed}`), plain, constants.COPYFILE_EXCL);
    const change = (path: string): Promise<string> => runOk(PYTHON, [supportFile('change_file.py'), path, String(seed), '250']);
    expect(await change(join(root, top, `random${seed}`))).toBe(await change(plain));
    expect(readFileSync(join(root, top, `random${seed}`)).equals(readFileSync(plain))).toBe(true);
  });
});

test('the template, its objects and the sums are as they should be', async () => {
  await store.expectSound();
  expect(await store.ok('diff', 'c1')).toMatch(/^C .*\/data\/big$/m);
  const stats = (await store.json('stats')) as { disk: { logicalBytes: number } };
  expect(stats.disk.logicalBytes).toBeGreaterThan(2 * BIG_BYTES);
  await runOk('cmp', [join(template, 'usr/big'), join(await (async () => { await store.ok('create', 'c2', '--ostemplate', 't'); return store.mount('c2'); })(), 'usr/big')]);
});
