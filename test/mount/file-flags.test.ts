import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_WRONLY } from '../support/agent.js';
import { buildRoot } from '../support/roots.js';
import { useScratch } from '../support/scratch.js';

// <linux/fs.h> on 64-bit machines
const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FICLONE = 0x40049409;
const SYNC = 0x8;
const IMMUTABLE = 0x10;
const APPEND = 0x20;
const NODUMP = 0x40;
const NOATIME = 0x80;
const COMPRESS = 0x4;
const XFLAG_NODUMP = 0x80;

const scratch = useScratch();
const store = scratch.makeStore();
let root = '';
let agent = new Agent();

beforeAll(async () => {
  await store.make(await buildRoot(scratch.path('template')), 'c1', 'c2');
  root = await store.mount('c1');
});
afterAll(async () => {
  await agent.end();
  await store.ok('umount', 'c1');
  await store.expectSound();
});

const at = (path: string): string => join(root, path);
const little = (value: number): { hex: string } => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(value);
  return { hex: bytes.toString('hex') };
};

async function withFile<T>(path: string, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = await agent.open(at(path));
  try {
    return await use(fd);
  } finally {
    await agent.close(fd);
  }
}

const getFlags = (path: string): Promise<number> =>
  withFile(path, async (fd) => Buffer.from((await agent.call('ioctl', fd, FS_IOC_GETFLAGS, little(0))) as string, 'hex').readUInt32LE());
const setFlags = (path: string, flags: number): Promise<string> => withFile(path, (fd) => agent.errno('ioctl', fd, FS_IOC_SETFLAGS, little(flags)));

describe('flags of lsattr and chattr', () => {
  test('what is as the template has it has none, and looking makes nothing private', async () => {
    for (const path of ['usr/lib/file', 'data/file', 'usr/lib/folder', '']) expect(await getFlags(path), path).toBe(0);
    expect(await store.info('c1')).toMatchObject({ privateFiles: 0, links: 0 });
  });

  test('no dump, no access times and synchronous writes are kept, over a copy-up and a remount; content stays shared', async () => {
    expect(await setFlags('usr/lib/file', NODUMP | NOATIME)).toBe('OK');
    expect(await setFlags('data/folder', NODUMP)).toBe('OK');
    expect(await store.info('c1')).toMatchObject({ privateFiles: 0, links: 1 });
    await agent.put(at('usr/lib/file'), 'more', O_WRONLY | O_APPEND);
    expect(await setFlags('usr/lib/other', SYNC)).toBe('OK');
    expect(await setFlags('usr/lib/file', NODUMP)).toBe('OK');
    await agent.end();
    root = await store.remount('c1');
    agent = new Agent();
    expect(await getFlags('usr/lib/file')).toBe(NODUMP);
    expect(await getFlags('usr/lib/other')).toBe(SYNC);
    expect(await getFlags('data/folder')).toBe(NODUMP);
    expect(await agent.get(at('usr/lib/file'))).toBe('from the template\nmore');
  });

  test('immutable, append-only and what belongs to the host are refused, and change nothing', async () => {
    for (const flag of [IMMUTABLE, APPEND, COMPRESS, NODUMP | IMMUTABLE]) expect(await setFlags('data/other', flag), String(flag)).toBe('ENOTSUP');
    expect(await getFlags('data/other')).toBe(0);
    await agent.put(at('data/other'), 'still writable');
    await agent.call('unlink', at('data/other'));
  });

  test('the same by FS_IOC_FSGETXATTR; project ids are not the container’s', async () => {
    await withFile('data/same-1', async (fd) => {
      const empty = Buffer.alloc(28);
      const wanted = Buffer.alloc(28);
      wanted.writeUInt32LE(XFLAG_NODUMP);
      expect(await agent.errno('ioctl', fd, FS_IOC_FSSETXATTR, { hex: wanted.toString('hex') })).toBe('OK');
      expect(await agent.call('ioctl', fd, FS_IOC_FSGETXATTR, { hex: empty.toString('hex') })).toBe(wanted.toString('hex'));
      wanted.writeUInt32LE(7, 12);
      expect(await agent.errno('ioctl', fd, FS_IOC_FSSETXATTR, { hex: wanted.toString('hex') })).toBe('ENOTSUP');
    });
    expect(await getFlags('data/same-1')).toBe(NODUMP);
  });

  test('only the owner may set them', async () => {
    const stranger = new Agent();
    await stranger.call('become', 2000, 2000);
    const fd = await stranger.open(at('data/size-1'));
    expect(await stranger.errno('ioctl', fd, FS_IOC_SETFLAGS, little(NODUMP))).toBe('EPERM');
    await stranger.end();
  });

  test('any other ioctl is ENOTTY', async () => {
    await withFile('data/size-1', async (fd) => {
      for (const number of [0x1234, 0x5401]) expect(await agent.errno('ioctl', fd, number, little(0))).toBe('ENOTTY');
      expect(await agent.errno('ioctl', fd, FICLONE, little(0))).not.toBe('OK');
    });
  });
});
