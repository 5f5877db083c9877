import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_RDWR, O_WRONLY } from '../support/agent.js';
import { buildRoot, compareTrees } from '../support/roots.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/* The kernel's overlayfs with a root as its lower layer, as a container engine inside or outside uses it. */

const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;

const scratch = useScratch();
const store = scratch.makeStore();
const agent = new Agent();
let template = '';
let lower = '';
let upper = '';
let merged = '';

beforeAll(async () => {
  template = await buildRoot(scratch.path('template'));
  await store.make(template, 'c1');
  lower = await store.mount('c1');
  upper = scratch.makeFolder('upper');
  merged = scratch.makeFolder('merged');
  await runOk('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${scratch.makeFolder('work')}`, merged]);
});
afterAll(async () => {
  await agent.end();
  const ended = await runProgram('umount', [merged]);
  if (ended.status !== 0) await runProgram('umount', ['-l', merged]);
  await store.ok('umount', 'c1');
  await store.expectSound();
});

const at = (path: string): string => join(merged, path);
const below = (path: string): string => join(lower, path);

describe('overlayfs on a root', () => {
  test('shows everything that the template has', async () => {
    // The topmost folder is the upper layer's own.
    let all = 0;
    for (const name of await agent.names(template)) {
      const { differences, entries } = await compareTrees(join(template, name), at(name), '--no-d-ino');
      expect(differences, name).toBe('');
      all += entries;
    }
    expect(all).toBeGreaterThan(600);
  });

  test('shows the inode numbers of the root, also after its copy-up', async () => {
    const { ino } = await agent.stat(below('usr/lib/file'));
    expect((await agent.stat(at('usr/lib/file'))).ino).toBe(ino);
    await agent.put(at('usr/lib/file'), 'more\n', O_WRONLY | O_APPEND);
    expect((await agent.stat(at('usr/lib/file'))).ino).toBe(ino);
    await agent.call('rename', at('usr/lib/file'), at('usr/lib/renamed'));
    expect((await agent.stat(at('usr/lib/renamed'))).ino).toBe(ino);
    await agent.call('rename', at('usr/lib/renamed'), at('usr/lib/file'));
  });

  test('copies up into its own upper layer: data, metadata, mappings; the root below is untouched', async () => {
    expect(await agent.get(at('usr/lib/file'))).toBe('from the template\nmore\n');
    const fd = await agent.open(at('data/size-65536'), O_RDWR);
    await agent.mapWrite(await agent.map(fd, 65_536, true), 'STORED', 30_000);
    expect(await agent.read(fd, 6, 30_000)).toBe('STORED');
    await agent.close(fd);
    await agent.call('chown', at('data/annotated'), 5, 6);
    expect(await agent.call('getxattr', at('data/annotated'), 'user.note')).toBe(Buffer.from('a note').toString('hex'));
    expect(await agent.get(below('usr/lib/file'))).toBe('from the template\n');
    expect(await agent.stat(below('data/annotated'))).toMatchObject({ uid: 0, gid: 0 });
    expect((await compareTrees(template, lower)).differences).toBe('');
    expect(await store.info('c1')).toMatchObject({ privateFiles: 0, links: 0 });
  });

  test('whiteouts, opaque folders and renames', async () => {
    await agent.call('unlink', at('usr/lib/other'));
    expect((await agent.stat(join(upper, 'usr/lib/other'))).mode & S_IFMT).toBe(S_IFCHR);
    expect(await agent.errno('lstat', at('usr/lib/other'))).toBe('ENOENT');
    expect(await agent.names(at('usr/lib'))).not.toContain('other');
    for (const path of ['folder/deeper/deepest/leaf', 'folder/hard-c', 'folder/inner']) await agent.call('unlink', at(`data/${path}`));
    for (const path of ['folder/deeper/deepest', 'folder/deeper', 'folder']) await agent.call('rmdir', at(`data/${path}`));
    await agent.call('mkdir', at('data/folder'));
    expect(await agent.names(at('data/folder'))).toEqual([]);
    await agent.call('rename', at('data/same-1'), at('data/renamed'));
    expect(await agent.names(at('data'))).toEqual(expect.arrayContaining(['renamed', 'folder']));
    expect(await agent.names(at('data'))).not.toContain('same-1');
    expect(await agent.names(below('data/folder'))).toEqual(['deeper', 'hard-c', 'inner']);
  });

  test('goes on when the worker of the root is killed', async () => {
    await store.killWorker('c1');
    expect(await agent.get(at('data/same-2'))).toContain('the same content');
    expect(await agent.names(at('data/many'))).toHaveLength(300);
  });
});
