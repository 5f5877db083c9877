import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, hex } from '../support/agent.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

/*
 * Who sees what, and when: section 5 of the design. Files are of four kinds (of the template or private already, below a
 * shared path or not), they change in several ways, and are looked at through old and new descriptors and mappings.
 */
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const SIZE = 4096;

const scratch = useScratch();
const store = scratch.makeStore();
let count = 0;
let name = '';
let root = '';
let reader = new Agent();
let writer = new Agent();

beforeAll(async () => {
  await reader.end();
  await writer.end();
  await store.make(await buildRoot(scratch.path('template')));
});
beforeEach(async () => {
  name = `c${++count}`;
  await store.ok('create', name, '--ostemplate', 't');
  root = await store.mount(name);
  reader = new Agent();
  writer = new Agent();
});
afterEach(async () => {
  await reader.end();
  await writer.end();
  await store.ok('umount', name);
  await store.ok('destroy', name);
});
afterAll(async () => {
  await reader.end();
  await writer.end();
  await store.expectSound();
});

const NEW = 'changed!';

interface Change {
  readonly how: string;
  /** Puts {@link NEW} at the start of the file. */
  readonly change: (path: string) => Promise<void>;
}

const CHANGES: readonly Change[] = [
  {
    how: 'write(2)',
    change: async (path) => {
      const fd = await writer.open(path, O_RDWR);
      await writer.write(fd, NEW);
      await writer.close(fd);
    },
  },
  {
    how: 'a store through a mapping',
    change: async (path) => {
      const fd = await writer.open(path, O_RDWR);
      const map = await writer.call('rawmap', fd, SIZE, PROT_READ_WRITE, MAP_SHARED);
      await writer.call('rawstore', map, hex(NEW));
      await writer.call('rawsync', map, SIZE);
      await writer.call('rawunmap', map, SIZE);
      await writer.close(fd);
    },
  },
  {
    how: 'a store through a mapping whose descriptor is closed',
    change: async (path) => {
      const fd = await writer.open(path, O_RDWR);
      const map = await writer.call('rawmap', fd, SIZE, PROT_READ_WRITE, MAP_SHARED);
      await writer.close(fd);
      await writer.call('rawstore', map, hex(NEW));
      await writer.call('rawsync', map, SIZE);
      await writer.call('rawunmap', map, SIZE);
    },
  },
];

interface Kind {
  readonly kind: string;
  readonly path: string;
  /** Whether the file is private before anybody opens it for the test. */
  readonly isPrivate: boolean;
  /** Whether those who have it open before the change see the change. */
  readonly oldSeesNew: boolean;
}

const KINDS: readonly Kind[] = [
  { kind: 'a template file on a shared path', path: 'usr/lib/size-65536', isPrivate: false, oldSeesNew: false },
  { kind: 'a template file elsewhere', path: 'data/size-65536', isPrivate: false, oldSeesNew: true },
  { kind: 'a private file on a shared path', path: 'usr/lib/size-65536', isPrivate: true, oldSeesNew: true },
  { kind: 'a private file elsewhere', path: 'data/size-65536', isPrivate: true, oldSeesNew: true },
];

const CELLS = KINDS.flatMap((kind) => CHANGES.map((change) => ({ ...kind, ...change })));

describe('who sees a change', () => {
  test.each(CELLS)('$how to $kind', async ({ path, isPrivate, oldSeesNew, change }) => {
    const at = join(root, path);
    if (isPrivate) await writer.put(at, 'p', O_WRONLY | O_APPEND);
    const before = await reader.open(at);
    const old = await reader.read(before, 8);
    const oldMap = await reader.map(before, SIZE);
    expect(await reader.mapRead(oldMap, 8)).toBe(old);
    const status = await reader.stat(at);

    await change(at);

    // New opens and new mappings see new data, always.
    const after = await reader.open(at);
    expect(await reader.read(after, 8)).toBe(NEW);
    expect(await reader.mapRead(await reader.map(after, SIZE), 8)).toBe(NEW);
    // Old ones do, but for a template file that was shared while they opened it.
    const seen = oldSeesNew ? NEW : old;
    expect(await reader.read(before, 8)).toBe(seen);
    expect(await reader.mapRead(oldMap, 8)).toBe(seen);
    // By name and through any descriptor the attributes are the new ones.
    const changed = await reader.stat(at);
    expect(BigInt(changed.mtimeNs)).toBeGreaterThan(BigInt(status.mtimeNs));
    expect(BigInt(changed.ctimeNs)).toBeGreaterThan(BigInt(status.ctimeNs));
    expect(changed).toMatchObject({ ino: status.ino, size: status.size });
    expect(await reader.stat(after)).toEqual(changed);
    // What is seen does not depend on what the kernel happens to remember.
    await writer.call('sync');
    expect(await reader.stat(at)).toMatchObject({ mtimeNs: changed.mtimeNs, size: changed.size });
    await reader.close(before);
    await reader.close(after);
    expect(await reader.get(at).then((text) => text.slice(0, 8))).toBe(NEW);
  });
});

describe('attributes right after a change', () => {
  test.each(KINDS)('size, mtime and ctime of $kind follow each write', async ({ path, isPrivate }) => {
    const at = join(root, path);
    if (isPrivate) await writer.put(at, 'p', O_WRONLY | O_APPEND);
    const watcher = await reader.open(at, O_RDONLY);
    let last = await reader.stat(at);
    const moved = async (size: number): Promise<void> => {
      const now = await reader.stat(at);
      expect(now.size).toBe(size);
      expect(BigInt(now.mtimeNs)).toBeGreaterThanOrEqual(BigInt(last.mtimeNs));
      expect(now.ctimeNs).not.toBe(last.ctimeNs);
      last = now;
      // Times of the host may stand still for a tick.
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    const fd = await writer.open(at, O_RDWR);
    const { size } = last;
    await writer.write(fd, 'grown', size + 100);
    await moved(size + 105);
    await writer.call('ftruncate', fd, 1000);
    await moved(1000);
    await writer.call('fallocate', fd, 0, 0, 5000);
    await moved(5000);
    await writer.close(fd);
    await writer.put(at, 'appended', O_WRONLY | O_APPEND);
    await moved(5008);
    await writer.put(at, '', O_WRONLY | O_TRUNC);
    await moved(0);
    await reader.close(watcher);
  });

  test.each(['usr/lib', 'data'])('a mapping that outlives its descriptor moves mtime with each store, in %s', async (top) => {
    const at = join(root, top, 'late');
    await writer.put(at, 'x'.repeat(SIZE));
    const fd = await writer.open(at, O_RDWR);
    const map = await writer.call('rawmap', fd, SIZE, PROT_READ_WRITE, MAP_SHARED);
    await writer.close(fd);
    let last = await reader.stat(at);
    expect(await reader.stat(at)).toEqual(last);
    for (const text of ['first', 'second']) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await writer.call('rawstore', map, hex(text));
      await writer.call('rawsync', map, SIZE);
      const now = await reader.stat(at);
      expect(BigInt(now.mtimeNs)).toBeGreaterThan(BigInt(last.mtimeNs));
      expect(await reader.get(at).then((found) => found.startsWith(text))).toBe(true);
      last = now;
    }
    // The next worker knows of it, too.
    await store.killWorker(name);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await writer.call('rawstore', map, hex('third'));
    await writer.call('rawsync', map, SIZE);
    expect(BigInt((await reader.stat(at)).mtimeNs)).toBeGreaterThan(BigInt(last.mtimeNs));
    await writer.call('rawunmap', map, SIZE);
    last = await reader.stat(at);
    expect(await reader.stat(at)).toEqual(last);
  });
});

describe('the list of shared paths', () => {
  /** Whether a reader from before sees what a writer does to a template file: it does not, where the path is shared. */
  async function isShared(path: string): Promise<boolean> {
    const at = join(root, path);
    const fd = await reader.open(at);
    const old = await reader.read(fd, 8);
    await writer.put(at, 'OVERWRITTEN', O_RDWR);
    const seen = await reader.read(fd, 8);
    await reader.close(fd);
    return seen === old;
  }

  /** Gives the test's container other settings. */
  async function recreate(template: string, ...options: string[]): Promise<void> {
    await store.ok('umount', name);
    await store.ok('destroy', name);
    await store.ok('create', name, '--ostemplate', template, ...options);
    root = await store.mount(name);
  }

  const shown = async (): Promise<unknown> => {
    const { sharedPaths, sharedPathsFrom } = (await store.json('info', name)) as Record<string, unknown>;
    return { sharedPaths, sharedPathsFrom };
  };

  test('built in: /usr, /bin, /sbin, /lib*, /opt', async () => {
    expect(await shown()).toEqual({ sharedPaths: ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt'], sharedPathsFrom: 'default' });
    expect(await isShared('usr/lib/file')).toBe(true);
    expect(await isShared('data/file')).toBe(false);
  });

  test('of the container, above all else; it survives a rebuilt catalog', async () => {
    await recreate('t', '--shared-path', '/data', '--shared-path', '/usr/lib/folder/');
    await store.ok('catalog', 'rebuild');
    expect(await shown()).toEqual({ sharedPaths: ['/data', '/usr/lib/folder'], sharedPathsFrom: 'container' });
    expect(await isShared('data/file')).toBe(true);
    expect(await isShared('usr/lib/folder/inner')).toBe(true);
    expect(await isShared('usr/lib/file')).toBe(false);
  });

  test('none: every file can be changed under its readers', async () => {
    await recreate('t', '--shared-path', 'none');
    expect(await shown()).toEqual({ sharedPaths: [], sharedPathsFrom: 'container' });
    expect(await isShared('usr/lib/file')).toBe(false);
    expect(await isShared('data/file')).toBe(false);
  });

  test('of the template, which keeps it over a refresh; and of the store, when the others say nothing', async () => {
    const source = scratch.path('other-template');
    await buildRoot(source);
    await store.ok('template', 'import', 'own', source, '--shared-path', '/data');
    await store.ok('template', 'import', 'own', source, '--refresh');
    await recreate('own');
    expect(await shown()).toEqual({ sharedPaths: ['/data'], sharedPathsFrom: 'template' });
    expect(await store.json('template', 'info', 'own')).toMatchObject({ sharedPaths: ['/data'], sharedPathsFrom: 'template' });
    expect(await isShared('data/file')).toBe(true);
    expect(await isShared('usr/lib/file')).toBe(false);

    const { rmSync, writeFileSync } = await import('node:fs');
    const config = join(store.path, 'config');
    try {
      writeFileSync(config, 'templatefs-store 1\nshared /data\nshared /home\n');
      await recreate('t');
      expect(await shown()).toEqual({ sharedPaths: ['/data', '/home'], sharedPathsFrom: 'store' });
      expect(await isShared('data/file')).toBe(true);
      expect(await isShared('usr/lib/file')).toBe(false);
      // A change holds from the next mount on, also when the worker is replaced meanwhile.
      writeFileSync(config, 'templatefs-store 1\nshared none\n');
      await store.killWorker(name);
      expect(await isShared('data/other')).toBe(true);
      root = await store.remount(name);
      expect(await isShared('data/folder/inner')).toBe(false);
      writeFileSync(config, 'shared /data\n');
      await store.ok('umount', name);
      await store.refuses(['mount', name], { status: 12, code: 'INTEGRITY', message: /config/ });
      await store.refuses(['info', name], { status: 12, code: 'INTEGRITY', message: /config/ });
    } finally {
      rmSync(config, { force: true });
    }
  });

  test('what is no path is refused', async () => {
    for (const bad of [['usr'], ['/usr/../etc'], ['none', '/usr'], ['/a//b']]) {
      await store.refuses(['create', 'bad', '--ostemplate', 't', ...bad.flatMap((path) => ['--shared-path', path])], {
        status: 2, code: 'USAGE', message: /shared path/,
      });
    }
  });
});
