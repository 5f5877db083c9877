import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_RDONLY, O_RDWR, O_WRONLY, hex } from '../support/agent.js';
import { buildRoot } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Differences between a root and ext4 that the random operations of test/mount/differential found, each as a story of its own.
 */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const CAPABILITY = hex('\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0'); // cap_net_bind_service=ep
const ACL_OTHER = '\x20\0\0\0\xff\xff\xff\xff';
const DEFAULT_ACL = hex(`\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff${ACL_OTHER}`);

const scratch = useScratch();
const store = scratch.makeStore();
let root = '';
let agent: Agent;
let other: Agent;
const at = (path: string): string => join(root, path);

describe.each([[[]], [['--no-passthrough']]])('mounted with %j', (options) => {
  const name = options.length === 0 ? 'through' : 'cached';

  const enter = async (): Promise<void> => {
    root = await store.mountEngine(name, ...options);
    agent = new Agent();
    other = new Agent();
  };
  const leave = async (): Promise<void> => {
    await agent.end();
    await other.end();
    await store.ok('umount', name);
  };

  beforeAll(async () => {
    if (options.length === 0) await store.ok('template', 'import', 't', await buildRoot(scratch.path('template')));
    await store.ok('create', name, '--ostemplate', 't');
    await enter();
  });
  afterAll(async () => {
    await leave();
    await store.expectSound();
  });

  test('all names and descriptors of a file that is open show what one of them changes', async () => {
    const reader = await agent.open(at('usr/lib/hard-a'), O_RDONLY);
    for (const path of ['usr/lib/hard-b', 'usr/lib/folder/hard-c']) await agent.stat(at(path));
    await other.put(at('usr/lib/hard-a'), 'and more\n', O_WRONLY | O_APPEND);
    const changed = await other.stat(at('usr/lib/hard-a'));
    expect(changed.size).toBe('one file with three names\nand more\n'.length);
    for (const seen of [at('usr/lib/hard-b'), at('usr/lib/folder/hard-c'), reader]) expect(await agent.stat(seen)).toEqual(changed);
    await other.call('chmod', at('usr/lib/hard-b'), 0o604);
    for (const seen of [at('usr/lib/hard-a'), at('usr/lib/folder/hard-c'), reader]) expect((await agent.stat(seen)).mode & 0o777).toBe(0o604);
    await agent.close(reader);
  });

  test('a file that was copied up under a reader lives until that reader’s close', async () => {
    const path = at('usr/lib/size-65536');
    await agent.call('setxattr', path, 'user.note', hex('still here'));
    const reader = await agent.open(path, O_RDONLY);
    await other.put(path, 'more', O_WRONLY | O_APPEND);
    await other.call('unlink', path);
    expect(await agent.stat(reader)).toMatchObject({ nlink: 0, size: 65_540 });
    expect(await agent.errno('lseek', reader, 0, SEEK_DATA)).toBe('OK');
    expect(await agent.errno('lseek', reader, 0, SEEK_HOLE)).toBe('OK');
    expect(await agent.call('getxattr', reader, 'user.note')).toBe(Buffer.from('still here').toString('hex'));
    expect(await agent.errno('fchmod', reader, 0o600)).toBe('OK');
    await agent.close(reader);
  });

  test('the time of birth does not change when a template file becomes private', async () => {
    const birth = (path: string): Promise<string> => runOk('stat', ['--format=%W %w', path]);
    const before = await birth(at('data/size-4096'));
    await agent.call('chmod', at('data/size-4096'), 0o600);
    await agent.put(at('data/size-4096'), 'more', O_WRONLY | O_APPEND);
    expect(await birth(at('data/size-4096'))).toBe(before);
    await leave();
    await enter(); // the kernel keeps what it was told
    expect(await birth(at('data/size-4096'))).toBe(before);
  });

  test('names of trusted xattrs are for root; names that cannot be are refused as on ext4', async () => {
    await agent.call('setxattr', at('data/annotated'), 'trusted.secret', hex('x'));
    expect(await agent.call('listxattr', at('data/annotated'))).toContain('trusted.secret');
    const stranger = new Agent();
    await stranger.call('become', 2000, 2000);
    for (const path of ['data/annotated', 'data/file'])
      expect(((await stranger.call('listxattr', at(path))) as string[]).filter((found) => found.startsWith('trusted.'))).toEqual([]);
    await stranger.end();
    expect(await agent.errno('getxattr', at('usr/lib/file'), 'user.')).toBe('EINVAL');
    expect(await agent.errno('getxattr', at('usr/lib/file'), 'unknown.name')).toMatch(/^(EOPNOTSUPP|ENOTSUP)$/);
    expect(await agent.errno('removexattr', at('usr/lib/file'), 'system.posix_acl_access')).toBe('OK');
  });

  test('chown kills the set-group-id bit by the group that the file had', async () => {
    await agent.put(at('data/group-change'), '');
    await agent.call('chown', at('data/group-change'), 1000, 1001);
    await agent.call('chmod', at('data/group-change'), 0o2744);
    const owner = new Agent();
    await owner.call('become', 1000, 1000);
    await owner.call('chown', at('data/group-change'), -1, 1000);
    await owner.end();
    expect((await agent.stat(at('data/group-change'))).mode & 0o7777).toBe(0o744);
  });

  test('chown kills the set-id bits of devices and pipes, too', async () => {
    await agent.call('mkfifo', at('data/set-id-pipe'), 0o640);
    await agent.call('chmod', at('data/set-id-pipe'), 0o6755);
    await agent.call('chown', at('data/set-id-pipe'), -1, -1);
    expect((await agent.stat(at('data/set-id-pipe'))).mode & 0o7777).toBe(0o755);
  });

  test('a default ACL leaves the set-group-id bit of its folder', async () => {
    await agent.call('mkdir', at('data/set-group'));
    await agent.call('chown', at('data/set-group'), 1000, 1001);
    await agent.call('chmod', at('data/set-group'), 0o2755);
    const owner = new Agent();
    await owner.call('become', 1000, 1000);
    await owner.call('setxattr', at('data/set-group'), 'system.posix_acl_default', DEFAULT_ACL);
    await owner.end();
    expect((await agent.stat(at('data/set-group'))).mode & 0o7777).toBe(0o2755);
  });

  test('a store through a mapping leaves file capabilities, a write takes them', async () => {
    await agent.put(at('data/capable'), 'x'.repeat(5000));
    const fd = await agent.open(at('data/capable'), O_RDWR);
    await agent.call('setxattr', at('data/capable'), 'security.capability', CAPABILITY);
    await agent.mapWrite(await agent.map(fd, 5000, true), 'stored', 10);
    expect(await agent.errno('getxattr', at('data/capable'), 'security.capability')).toBe('OK');
    await agent.write(fd, 'written');
    expect(await agent.errno('getxattr', at('data/capable'), 'security.capability')).toBe('ENODATA');
    await agent.close(fd);
  });

  test('root’s change of a set-id file with capabilities takes those alone', async () => {
    await agent.put(at('data/privileged'), 'x'.repeat(5000));
    await agent.call('chmod', at('data/privileged'), 0o6755);
    await agent.call('setxattr', at('data/privileged'), 'security.capability', CAPABILITY);
    const fd = await agent.open(at('data/privileged'), O_RDWR);
    await agent.call('fallocate', fd, 0, 0, 100);
    expect(await agent.errno('getxattr', at('data/privileged'), 'security.capability')).toBe('ENODATA');
    expect((await agent.stat(fd)).mode & 0o7777).toBe(0o6755);
    await agent.close(fd);
  });
});
