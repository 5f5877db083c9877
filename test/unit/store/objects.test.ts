import { execFileSync, fork, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { enginePath } from '../../../src/core/engine-path.js';
import { StorePaths } from '../../../src/core/store-paths.js';
import { importTar } from '../../../src/store/import-tar.js';
import { ObjectBatch } from '../../../src/store/object-batch.js';
import { formatObjectId, objectPath, parseObjectId, type ObjectReference } from '../../../src/store/object-id.js';
import { objectUsage } from '../../../src/store/object-usage.js';
import { removeStaleStaging } from '../../../src/store/staging.js';
import { verifyObjects } from '../../../src/store/verify-store.js';
import { archive, member } from './tar-builder.js';
import { dump, names, shell, temporaryFolder, temporaryStore } from './temporary-store.js';

/** One bit of hash: half of all contents collide. */
const WEAK = { hashBits: 1 };

async function add(batch: ObjectBatch, content: string | Buffer): Promise<number> {
  const bytes = Buffer.from(content);
  return batch.addSmall(bytes.length, (target) => void bytes.copy(target));
}

async function addStream(batch: ObjectBatch, ...parts: (string | number)[]): Promise<number> {
  const stream = batch.openStream();
  for (const part of parts) {
    if (typeof part === 'number') await stream.hole(part);
    else await stream.data(part.length, (target) => void target.write(part));
  }
  return stream.end();
}

function contentOf(paths: StorePaths, object: ObjectReference | undefined): string {
  return object === undefined ? '' : readFileSync(objectPath(paths, object), 'latin1');
}

describe('object ids', () => {
  it('are read and written in one form only', () => {
    const hash = '0123456789abcdef0123456789abcdef';
    expect(parseObjectId(hash)).toEqual({ hash, variant: 0 });
    expect(parseObjectId(`${hash}.12`)).toEqual({ hash, variant: 12 });
    expect(formatObjectId({ hash, variant: 12 })).toBe(`${hash}.12`);
    for (const wrong of ['', hash.toUpperCase(), `${hash}.0`, `${hash}.01`, `${hash}.`, `${hash}.4294967296`, hash.slice(1), `${hash}\n`]) {
      expect(parseObjectId(wrong), wrong).toBeUndefined();
    }
    expect(objectPath(new StorePaths('/s'), { hash, variant: 2 })).toBe('/s/objects/01/23456789abcdef0123456789abcdef.2');
  });
});

describe('a batch', () => {
  it('fails where the disk failed while it was being filled: the kernel tells of that only once', async () => {
    const paths = temporaryStore();
    const folder = temporaryFolder();
    const fail = `mkdir ${folder}/failed 2> /dev/null && { echo 'templatefs-engine: IO_ERROR: Input/output error' >&2; exit 1; }`;
    const failingOnce = join(folder, 'engine');
    writeFileSync(failingOnce, `#!/bin/sh\n${fail}\nexec ${enginePath()} "$@"\n`, { mode: 0o755 });
    onTestFinished(() => void vi.unstubAllEnvs());
    vi.stubEnv('TEMPLATEFS_ENGINE', failingOnce);
    const batch = await ObjectBatch.open(paths);
    await expect(addStream(batch, 'x'.repeat(40 * 2 ** 20)).then(() => batch.commit())).rejects.toMatchObject({ code: 'IO_ERROR' });
    await batch.abandon();
    expect(existsSync(join(folder, 'failed'))).toBe(true);
    expect(await objectUsage(paths)).toMatchObject({ objects: 0 });
    expect(names(paths.staging)).toEqual([]);
  });

  it('stores equal contents once, read-only, under the XXH3-128 of their bytes', async () => {
    const paths = temporaryStore();
    const batch = await ObjectBatch.open(paths);
    const tickets = [await add(batch, 'a'), await add(batch, 'b'), await add(batch, 'a'), await addStream(batch, 'a'), await addStream(batch, 'b')];
    const done = await batch.commit();
    expect(tickets.map((ticket) => contentOf(paths, done.objects[done.objectOf[ticket] ?? -1]))).toEqual(['a', 'b', 'a', 'a', 'b']);
    expect(done).toMatchObject({ newObjects: 2, newBytes: 2, sharedObjects: 0 });
    const object = join(paths.objects, 'a9', '6faf705af16834e6c632b61e964e1f');
    expect([statSync(object).mode & 0o7777, statSync(object).nlink]).toEqual([0o400, 1]);
    expect(await objectUsage(paths)).toEqual({ objects: 2, bytes: 2, allocatedBytes: 8192 });
    expect(names(paths.staging)).toEqual([]);
  });

  it('writes nothing for what the store has', async () => {
    const paths = temporaryStore();
    for (const expected of [{ newObjects: 2, sharedObjects: 0 }, { newObjects: 0, newBytes: 0, sharedObjects: 2 }]) {
      const batch = await ObjectBatch.open(paths);
      await add(batch, 'small');
      await addStream(batch, 'large'.repeat(100_000));
      expect(await batch.commit()).toMatchObject(expected);
    }
  });

  it('keeps holes, and knows that zeros are equal to a hole', async () => {
    const paths = temporaryStore();
    const batch = await ObjectBatch.open(paths);
    const tickets = [await addStream(batch, 8192, 'data', 1_000_000), await addStream(batch, '\0'.repeat(8192), 'data', '\0'.repeat(1_000_000)), await addStream(batch, 5000)];
    const { objects, objectOf } = await batch.commit();
    expect([...objectOf]).toEqual([0, tickets[2] === undefined ? -1 : objectOf[0], 1]);
    expect(objects.map(({ size }) => size)).toEqual([1_008_196, 5000]);
    expect(contentOf(paths, objects[0])).toBe(`${'\0'.repeat(8192)}data${'\0'.repeat(1_000_000)}`);
    expect(objects.map((object) => statSync(objectPath(paths, object)).blocks)).toEqual([8, 0]);
  });

  it('gives contents of one fingerprint names of their own: in one batch, and with what is there', async () => {
    const paths = temporaryStore();
    const contents = Array.from({ length: 40 }, (_, i) => `content ${i}`);
    for (let round = 0; round < 2; round += 1) {
      const batch = await ObjectBatch.open(paths, WEAK);
      const tickets: number[] = [];
      for (const content of [...contents, ...contents]) tickets.push(tickets.length % 3 === 0 ? await addStream(batch, content) : await add(batch, content));
      const { objects, objectOf, newObjects } = await batch.commit();
      expect(newObjects).toBe(round === 0 ? 40 : 0);
      expect(tickets.map((ticket) => contentOf(paths, objects[objectOf[ticket] ?? -1]))).toEqual([...contents, ...contents]);
    }
    const hashes = readdirSync(paths.objects);
    expect(hashes).toEqual(['00', '80']);
    expect(hashes.reduce((sum, hash) => sum + names(join(paths.objects, hash)).length, 0)).toBe(40);
    expect((await verifyObjects(paths, WEAK)).problems).toEqual([]);
  });

  it('numbers colliding contents by their order in the archive, whichever thread is first', async () => {
    const parts = Array.from({ length: 30 }, (_, i) => member({ name: `f${i}` }, Buffer.alloc(i % 2 === 0 ? 10 : 200_000, i)));
    const trees = new Set<string>();
    for (let round = 0; round < 3; round += 1) trees.add((await importTar(temporaryStore(), Readable.from([archive(...parts)]), WEAK)).tree);
    expect(trees.size).toBe(1);
  });

  it('does not share with an object whose content was changed', async () => {
    const paths = temporaryStore();
    const commit = async (): Promise<ObjectReference | undefined> => {
      const batch = await ObjectBatch.open(paths);
      await add(batch, 'honest');
      return (await batch.commit()).objects[0];
    };
    const first = await commit();
    expect(first?.variant).toBe(0);
    if (first !== undefined) writeFileSync(objectPath(paths, first), 'forged');
    const second = await commit();
    expect([second?.variant, contentOf(paths, second)]).toEqual([1, 'honest']);
  });

  it('abandoned leaves nothing, and cannot be used again', async () => {
    const paths = temporaryStore();
    const batch = await ObjectBatch.open(paths);
    await add(batch, 'a');
    await addStream(batch, 'b'.repeat(3_000_000));
    batch.openStream();
    await batch.abandon();
    await batch.abandon();
    await expect(add(batch, 'c')).rejects.toThrow('ended');
    expect([names(paths.staging), names(paths.objects)]).toEqual([[], []]);
  });
});

describe('several at once', () => {
  it('two imports of one process', async () => {
    const paths = temporaryStore();
    const parts = Array.from({ length: 300 }, (_, i) => member({ name: `f${i}` }, `content ${i % 200}`));
    const results = await Promise.all([1, 2, 3].map(() => importTar(paths, Readable.from([archive(...parts)]))));
    expect(new Set(results.map(({ tree }) => tree)).size).toBe(1);
    expect(results.reduce((sum, { newObjects }) => sum + newObjects, 0)).toBe(200);
    expect(readdirSync(paths.objects).reduce((sum, hash) => sum + names(join(paths.objects, hash)).length, 0)).toBe(200);
    expect(names(paths.staging)).toEqual([]);
  });

  it('two processes, also when all fingerprints collide', async () => {
    const paths = temporaryStore();
    const built = buildStore();
    const run = (offset: number): Promise<string[]> => importInProcess(paths, { built, offset, ...WEAK });
    const [first, second] = await Promise.all([run(0), run(20)]);
    expect([first.length, second.length]).toEqual([60, 60]);
    // 40 contents are in both; every tree finds its own.
    expect(readdirSync(paths.objects).reduce((sum, hash) => sum + names(join(paths.objects, hash)).length, 0)).toBe(80);
    for (const [lines, offset] of [[first, 0], [second, 20]] as const) {
      for (const line of lines) {
        const [path = '', id = ''] = line.split(' ');
        const object = parseObjectId(id);
        expect(object === undefined ? '' : readFileSync(objectPath(paths, object), 'utf8')).toBe(`content ${Number(path.slice(2)) + offset}`);
      }
    }
    expect(names(paths.staging)).toEqual([]);
  });
});

/** The store as JavaScript, with a script that imports: other processes have no vitest to run sources. */
function buildStore(): string {
  const built = join(temporaryFolder(), 'built');
  const project = join(import.meta.dirname, '../../..');
  execFileSync(process.execPath, [join(project, 'node_modules/typescript/bin/tsc'), '-p', join(import.meta.dirname, 'tsconfig.store.json'), '--outDir', built]);
  writeFileSync(join(built, 'package.json'), '{"type":"module"}');
  shell('ln -s "$1" "$2"', join(project, 'node_modules'), join(built, 'node_modules'));
  writeFileSync(
    join(built, 'run.js'),
    `import { importTarFile } from './store/import-tar.js';
    import { StorePaths } from './core/store-paths.js';
    const result = await importTarFile(new StorePaths(process.argv[2]), process.argv[3], { hashBits: Number(process.argv[4]) });
    process.send(result.tree);`,
  );
  return built;
}

/** An import in a process of its own; gives `PATH OBJECT` for each of 60 files whose content is their number + offset. */
async function importInProcess(paths: StorePaths, options: { built: string; offset: number; hashBits: number }): Promise<string[]> {
  const parts = Array.from({ length: 60 }, (_, i) => member({ name: `f${i}` }, `content ${i + options.offset}`));
  const file = join(temporaryFolder(), 'a.tar');
  writeFileSync(file, archive(...parts));
  const script = join(options.built, 'run.js');
  const env = { ...process.env, TEMPLATEFS_ENGINE: enginePath() };
  const child: ChildProcess = fork(script, [paths.store, file, String(options.hashBits)], { execArgv: [], env });
  const [tree, code] = await Promise.all([
    new Promise<string>((resolve) => child.once('message', (message) => { resolve(message as string); })),
    new Promise((resolve) => child.once('exit', resolve)),
  ]);
  expect(code).toBe(0);
  return dump(paths, tree).slice(1).map((line) => `${line.split(' ')[0] ?? ''} ${line.split(' ')[10]?.replace('object=', '') ?? ''}`);
}

describe('a store that cannot be written', () => {
  /** A small ext4 of its own. Needs a loop device; the tests do not skip. */
  function smallFileSystem(megabytes: number): string {
    const folder = temporaryFolder();
    const mountPoint = join(folder, 'mnt');
    mkdirSync(mountPoint);
    shell('truncate -s "$3M" "$1"; mkfs.ext4 -q -m 0 -O ^has_journal "$1"; mount -o loop "$1" "$2"', join(folder, 'image'), mountPoint, String(megabytes));
    onTestFinished(() => {
      shell('umount "$1"', mountPoint);
    });
    return mountPoint;
  }

  it.each(['small files', 'one large file'])('no space: %s', async (kind) => {
    const paths = new StorePaths(join(smallFileSystem(16), 'store'));
    const parts = kind === 'small files' ? Array.from({ length: 500 }, (_, i) => member({ name: `f${i}` }, Buffer.alloc(100_000, i))) : [member({ name: 'big' }, Buffer.alloc(50_000_000, 1))];
    // The limit is taken away, so that the file system itself says it.
    await expect(importTar(paths, Readable.from([archive(...parts)]), { maxBytes: 2 ** 40 })).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect([names(paths.staging), names(paths.trees)]).toEqual([[], []]);
    // It goes on with what fits.
    expect(await importTar(paths, Readable.from([archive(member({ name: 'f' }, 'x'))]), { maxBytes: 2 ** 20 })).toMatchObject({ newObjects: 1 });
  });

  it('no space is seen early, and some is left free', async () => {
    const paths = new StorePaths(join(smallFileSystem(16), 'store'));
    await expect(importTar(paths, Readable.from([archive(member({ name: 'f' }, 'x'.repeat(300_000)))]))).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect([names(paths.staging), names(paths.objects)]).toEqual([[], []]);
  });

  it('a read-only file system', async () => {
    const mountPoint = smallFileSystem(16);
    shell('mount -o remount,ro "$1"', mountPoint);
    await expect(importTar(new StorePaths(join(mountPoint, 'store')), Readable.from([archive(member({ name: 'f' }, 'x'))]))).rejects.toMatchObject({ code: 'STORE_NOT_WRITABLE' });
  });

  it('an abort ends it, also in the middle of a stream that gives nothing more', async () => {
    const paths = temporaryStore();
    const aborting = new AbortController();
    const endless = new Readable({ read: () => undefined });
    endless.push(member({ name: 'f' }, 'x'));
    const importing = importTar(paths, endless, { signal: aborting.signal });
    setTimeout(() => {
      aborting.abort();
    }, 50);
    await expect(importing).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(importTar(paths, Readable.from([]), { signal: aborting.signal })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect([names(paths.staging), names(paths.trees)]).toEqual([[], []]);
  });
});

describe('staging', () => {
  it('what dead processes left is removed, what live ones do is not', async () => {
    const paths = temporaryStore();
    const batch = await ObjectBatch.open(paths);
    const mine = names(paths.staging);
    for (const name of ['objects-4194305-77-abc', `objects-${process.pid}-1-abc`, 'tree-4194305-77-abc']) mkdirSync(join(paths.staging, name));
    writeFileSync(join(paths.staging, 'not-ours'), '');
    chmodSync(paths.staging, 0o755);
    expect((await removeStaleStaging(paths)).sort()).toEqual(['objects-4194305-77-abc', `objects-${process.pid}-1-abc`, 'tree-4194305-77-abc'].sort());
    expect(names(paths.staging).sort()).toEqual([...mine, 'not-ours'].sort());
    await batch.abandon();
    expect(existsSync(join(paths.staging, mine[0] ?? ''))).toBe(false);
  });
});
