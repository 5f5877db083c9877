import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, type BigIntStats } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { importFolder } from '../../../src/store/import-folder.js';
import { importTarFile } from '../../../src/store/import-tar.js';
import { objectPath, parseObjectId } from '../../../src/store/object-id.js';
import { escapeBytes } from '../../../src/store/tree-dump.js';
import { verifyTree } from '../../../src/store/tree-verify.js';
import { dump, dumpLine, names, shell, temporaryFolder, temporaryStore } from './temporary-store.js';

// Needs root, GNU tar, the attr and acl tools, zstd and xz; all of them are what importing needs, too.
const RICH = `
  cd "$1"
  mkdir -p usr/bin usr/lib empty 'spaces and
newline' deep/a/b/c/d/e
  printf hello > usr/bin/hello
  ln usr/bin/hello hard-1; ln usr/bin/hello deep/hard-2
  cp usr/bin/hello same-content
  : > nothing
  printf x > "$(printf 'bad\\377\\376utf8')"
  printf y > $'tab\\tand\\x01control'
  printf z > größe
  ln -s usr/bin bin; ln -s /no/such "$(printf 'link\\200')"
  ln -s "$(printf 't\\377arget')" odd-target; ln odd-target odd-target-again 
  ln -s "$(printf 'l%.0s' $(seq 1 4000))" long-target
  head -c 300000 /dev/urandom > large
  head -c 131072 /dev/urandom > at-threshold
  head -c 131073 /dev/urandom > above-threshold
  truncate -s 10M all-hole
  truncate -s 1M hole-at-end; printf data | dd of=hole-at-end conv=notrunc status=none
  dd if=/dev/urandom of=holes bs=4096 count=1 seek=3 status=none
  dd if=/dev/urandom of=holes bs=4096 count=2 seek=1000 conv=notrunc status=none
  truncate -s 5000000 holes
  chmod 4755 usr/bin/hello; chmod 1777 empty; chmod 2755 usr/lib; chmod 0 nothing
  chown 1234:4321 large; chown -h 77:88 bin; chown 4000000000:4000000001 hole-at-end
  mknod null c 1 3; mknod disk b 259 70000; mkfifo pipe; ln pipe pipe-again
  setfattr -n user.text -v 'with = and % and , in it' usr/bin/hello
  setfattr -n user.binary -v 0x00ff0a00 large
  setfattr -n 'user.a=b%c' -v 1 large
  setfattr -n user.empty -v '' holes
  setfattr -n trusted.something -v yes deep
  setfattr -n trusted.templatefs.node -v 0x01 deep/a
  setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 same-content
  setfacl -m u:1234:rwx,g:daemon:r,m::rwx usr/lib; setfacl -d -m u:5678:rx usr/lib; setfacl -m u:root:r large
  printf deep > deep/a/b/c/d/e/file
  n=$(printf 'n%.0s' $(seq 1 255)); printf long > "$n"; mkdir -p "deep/$n/$n/$n"; printf long > "deep/$n/$n/$n/$n"
  touch -h -d '1965-03-04 05:06:07.987654321 UTC' bin usr/bin/hello
  touch -d '2100-01-02 03:04:05.000000001 UTC' large
  touch -d '1969-12-31 23:59:59.5 UTC' nothing
  touch -d '2001-02-03 04:05:06.789 UTC' empty null pipe usr/lib usr .
`;

async function richFolder(): Promise<string> {
  const folder = join(temporaryFolder(), 'source');
  shell('mkdir "$1"', folder);
  shell(RICH, folder);
  const server = createServer().listen(join(folder, 'usr/socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  shell('ln "$1/usr/socket" "$1/socket-1"; ln "$1/usr/socket" "$1/socket-2"; chmod 0640 "$1/socket-1"', folder);
  // Closing removes the name that it was bound to.
  await new Promise((resolve) => server.close(resolve));
  shell('touch -d "1960-01-01 00:00:00.25 UTC" "$1/socket-1" "$1/usr"', folder);
  return folder;
}

/** What the source says of a file, in the fields of the dump that do not depend on the numbers of the tree. */
function expected(path: Buffer, stat: BigIntStats): string[] {
  const isFile = stat.isFile();
  const seconds = (stat.mtimeNs - (((stat.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) / 1_000_000_000n;
  const mtime = `${seconds}.${String(stat.mtimeNs - seconds * 1_000_000_000n).padStart(9, '0')}`;
  const size = isFile || stat.isSymbolicLink() ? String(stat.size) : '0';
  const rdev = stat.isCharacterDevice() || stat.isBlockDevice() ? String(stat.rdev) : '0';
  const target = stat.isSymbolicLink() ? `target=${escapeBytes(readlinkSync(path, { encoding: 'latin1' }))}` : '';
  return [stat.mode.toString(8), String(stat.uid), String(stat.gid), String(stat.nlink), size, mtime, rdev, target];
}

function* walk(folder: Buffer, path: Buffer): Generator<{ path: string; stat: BigIntStats; file: Buffer }> {
  const file = Buffer.concat([folder, path]);
  const stat = lstatSync(file, { bigint: true });
  yield { path: path.length === 0 ? '/' : path.toString('latin1').split('/').map(escapeBytes).join('/'), stat, file };
  if (!stat.isDirectory()) return;
  for (const name of readdirSync(file, { encoding: 'buffer' })) yield* walk(folder, Buffer.concat([path, Buffer.from('/'), name]));
}

describe('a folder with everything', () => {
  it('comes back from the tree as it was', async () => {
    const folder = await richFolder();
    const paths = temporaryStore();
    const result = await importFolder(paths, folder);
    verifyTree(paths.tree(result.tree));
    const lines = dump(paths, result.tree);
    const files = [...walk(Buffer.from(folder), Buffer.alloc(0))];
    expect(lines.map((line) => line.split(' ')[0]).sort()).toEqual(files.map(({ path }) => path).sort());
    for (const { path, stat, file } of files) {
      const [, mode, uid, gid, nlink, size, blocks, mtime, rdev, , data] = dumpLine(lines, path);
      expect([mode, uid, gid, nlink, size, mtime, rdev, data?.startsWith('target=') === true ? data : ''], path).toEqual(expected(file, stat));
      if (!stat.isFile()) continue;
      if (stat.size === 0n) {
        expect(data).toBe('empty');
        continue;
      }
      const id = parseObjectId(data?.replace('object=', '') ?? '');
      const object = id === undefined ? '' : objectPath(paths, id);
      expect(readFileSync(object).equals(readFileSync(file)), path).toBe(true);
      expect(Number(blocks)).toBeLessThanOrEqual(Number(stat.size + 4095n) / 512);
    }
    const xattrs = (path: string): string | undefined => dumpLine(lines, path)[11];
    const hex = (text: string): string => Buffer.from(text).toString('hex');
    expect(xattrs('/usr/bin/hello')).toBe(`user.text=${hex('with = and % and , in it')}`);
    expect(xattrs('/large')).toMatch(/^system\.posix_acl_access=02000000[0-9a-f]+,user\.a%3Db%25c=31,user\.binary=00ff0a00$/);
    expect(xattrs('/holes')).toBe('user.empty=');
    expect(xattrs('/deep')).toBe(`trusted.something=${hex('yes')}`);
    expect(xattrs('/deep/a')).toBe('-');
    expect(xattrs('/same-content')).toBe('security.capability=0100000200200000000000000000000000000000');
    expect(xattrs('/usr/lib')).toMatch(/^system\.posix_acl_access=[0-9a-f]+,system\.posix_acl_default=[0-9a-f]+$/);
    expect(dumpLine(lines, '/socket-1')[9]).toBe(dumpLine(lines, '/socket-2')[9]);
    expect(names(paths.staging)).toEqual([]);
  });

  it('keeps holes: in the blocks of the tree and in the object', async () => {
    const folder = await richFolder();
    const paths = temporaryStore();
    const lines = dump(paths, (await importFolder(paths, folder)).tree);
    const allocated = (path: string): number => {
      const id = parseObjectId(dumpLine(lines, path)[10]?.replace('object=', '') ?? '');
      return id === undefined ? -1 : lstatSync(objectPath(paths, id)).blocks;
    };
    expect([dumpLine(lines, '/all-hole')[6], allocated('/all-hole')]).toEqual(['0', 0]);
    expect([dumpLine(lines, '/hole-at-end')[6], allocated('/hole-at-end')]).toEqual(['8', 8]);
    expect([dumpLine(lines, '/holes')[6], allocated('/holes')]).toEqual(['24', 24]);
  });

  it('gives the same tree each time, and from each archive that has all of it', async () => {
    const folder = await richFolder();
    shell('rm "$1"/socket-*  "$1/pipe-again"; touch -d @1 "$1" "$1/usr"', folder);
    const first = await importFolder(temporaryStore(), folder);
    const paths = temporaryStore();
    expect((await importFolder(paths, folder)).tree).toBe(first.tree);
    expect(await importFolder(paths, folder)).toMatchObject({ tree: first.tree, newObjects: 0, newBytes: 0, sharedObjects: first.newObjects });
    const work = temporaryFolder();
    shell(`cd "$2"; tar --format=pax --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -C "$1" -cf plain.tar .
      gzip -k plain.tar; zstd -q -k plain.tar; xz -0 -k plain.tar; cat plain.tar > renamed.gz`, folder, work);
    for (const name of ['plain.tar', 'plain.tar.gz', 'plain.tar.zst', 'plain.tar.xz', 'renamed.gz']) {
      expect((await importTarFile(temporaryStore(), join(work, name))).tree, name).toBe(first.tree);
    }
  });

  it.each(['0.0', '0.1', '1.0'])('reads sparse files of PAX format %s', async (version) => {
    const { folder, work, content } = await sparseFolder();
    shell(`tar --format=pax --sparse --sparse-version=$3 --hole-detection=raw -C "$1" -cf "$2/a.tar" .`, folder, work, version);
    const paths = temporaryStore();
    const lines = dump(paths, (await importTarFile(paths, join(work, 'a.tar'))).tree);
    expect(contentOf(paths, lines)).toEqual(content);
  });

  it('reads sparse files of the old GNU format, with more segments than one header holds', async () => {
    const { folder, work, content } = await sparseFolder();
    shell(`tar --format=gnu --sparse -C "$1" -cf "$2/a.tar" .`, folder, work);
    const paths = temporaryStore();
    const lines = dump(paths, (await importTarFile(paths, join(work, 'a.tar'))).tree);
    expect(contentOf(paths, lines)).toEqual(content);
  });

  it.each(['v7', 'oldgnu', 'gnu', 'ustar', 'pax'])('reads what GNU tar writes as %s', async (format) => {
    const work = temporaryFolder();
    shell(`cd "$1"; mkdir -p source/dir/sub; cd source; printf a > dir/a; ln dir/a dir/b; ln -s a dir/c; printf long > dir/sub/$(printf 'n%.0s' $(seq 1 60))
      [ $2 = v7 ] || mkfifo dir/p; [ $2 = v7 ] || mknod dir/n c 5 1; touch -d @1500000000 dir/a dir/sub/* dir/sub dir .; touch -hd @1500000000 dir/c
      [ $2 = v7 ] || touch -d @1500000000 dir/p dir/n
      tar --format=$2 --numeric-owner -cf ../a.tar .`, work, format);
    const archived = temporaryStore();
    const folder = temporaryStore();
    const fromArchive = dump(archived, (await importTarFile(archived, join(work, 'a.tar'))).tree);
    const fromFolder = dump(folder, (await importFolder(folder, join(work, 'source'))).tree);
    // Only PAX has fractions of seconds; only folders and links set just now have any here.
    const whole = (lines: string[]): string[] => lines.filter((line) => !line.includes('\0')).map((line) => line.replace(/\.[0-9]{9} /, ' '));
    expect(whole(fromArchive)).toEqual(whole(fromFolder));
  });

  it('says what tar says when a file cannot be read, and leaves nothing', async () => {
    const paths = temporaryStore();
    await expect(importFolder(paths, '/proc/self/no-such-folder')).rejects.toMatchObject({ code: 'FAILED' });
    await expect(importFolder(paths, '/etc/hostname')).rejects.toMatchObject({ code: 'FAILED' });
    expect(names(paths.staging)).toEqual([]);
  });
});

async function sparseFolder(): Promise<{ folder: string; work: string; content: string[] }> {
  const work = temporaryFolder();
  const folder = join(work, 'source');
  shell(`mkdir "$1"; cd "$1"
    for i in $(seq 0 60); do printf "data $i" | dd of=many bs=8192 seek=$i conv=notrunc status=none; done
    truncate -s 2000000 many; truncate -s 700000 hole; printf end | dd of=end bs=1M seek=1 status=none; printf dense > dense`, folder);
  const content = ['dense', 'end', 'hole', 'many'].map((name) => digest(name, readFileSync(join(folder, name))));
  return { folder, work, content };
}

function digest(name: string, content: Buffer): string {
  return `/${name} ${content.length} ${createHash('sha256').update(content).digest('hex')}`;
}

/** The digests of the files in the root, from their objects; blocks are checked to be those of a sparse file. */
function contentOf(paths: StorePaths, lines: readonly string[]): string[] {
  return lines.slice(1).map((line) => {
    const [path = '', , , , , size, blocks, , , , data = ''] = line.split(' ');
    expect(Number(blocks)).toBeLessThanOrEqual(path === '/many' ? 61 * 8 : 8);
    const id = parseObjectId(data.replace('object=', ''));
    const content = id === undefined ? Buffer.alloc(0) : readFileSync(objectPath(paths, id));
    expect(content.length).toBe(Number(size));
    return digest(path.slice(1), content);
  });
}

it('a file that cannot be read is named', async () => {
  const paths = temporaryStore();
  for (const file of ['/nonexistent.tar', '/etc']) {
    await expect(importTarFile(paths, file)).rejects.toMatchObject({ code: 'FAILED', message: expect.stringContaining(file) as string });
  }
  expect(names(paths.staging)).toEqual([]);
});

it('an import of a folder can be interrupted', async () => {
  const paths = temporaryStore();
  const aborting = new AbortController();
  const importing = importFolder(paths, '/usr', { signal: aborting.signal });
  setTimeout(() => {
    aborting.abort();
  }, 100);
  await expect(importing).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect([names(paths.staging), names(paths.trees), names(paths.objects)]).toEqual([[], [], []]);
});
