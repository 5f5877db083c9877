import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent, O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY, hex } from '../support/agent.js';
import { ENGINE } from '../support/project.js';
import { buildRoot } from '../support/roots.js';
import { runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * A container whose root is user 100000 on the host: docs/user-namespaces.md. Ids are seen from three sides: in the
 * container (0…), at the mount point (100000…), in the private area (0… again).
 */
const BASE = 100_000;
const MAP = `0:${BASE}:65536`;

const scratch = useScratch();
const store = scratch.makeStore();
let root = '';
const host = new Agent();
const mappedRoot = new Agent();
const mappedUser = new Agent();

beforeAll(async () => {
  await store.make(await buildRoot(scratch.path('template')));
  await store.ok('create', 'c1', '--ostemplate', 't', '--idmap', MAP);
  root = await store.mount('c1');
  await mappedRoot.call('become', BASE, BASE);
  await mappedUser.call('become', BASE + 1000, BASE + 1000);
});
afterAll(async () => {
  for (const agent of [host, mappedRoot, mappedUser]) await agent.end();
});

const at = (path: string): string => join(root, path);
const inside = (path: string): { uid: number; gid: number; mode: number } => lstatSync(join(store.path, 'private/c1/root', path));
const exec = (...command: string[]): ReturnType<typeof store.run> => store.run(['exec', 'c1', '--no-network', '--', ...command]);
async function execOk(script: string): Promise<string> {
  const ended = await exec('sh', '-c', script);
  expect(ended, ended.stderr).toMatchObject({ status: 0 });
  return ended.stdout;
}

describe('a mapped root', () => {
  test('is shown with the ids of the host, without a change of the private area', async () => {
    expect(await host.stat(at('usr/lib/file'))).toMatchObject({ uid: BASE, gid: BASE });
    expect(await host.stat(at('home/private'))).toMatchObject({ uid: BASE + 1000, gid: BASE + 1000 });
    // 4,000,000,000 has no place in the map.
    expect(await host.stat(at('home/large-owner'))).toMatchObject({ uid: 65534, gid: 65534 });
    expect(await store.info('c1')).toMatchObject({ privateFiles: 0, links: 0, passthrough: true, idMap: { uids: [MAP], gids: [MAP] } });
    expect(store.engineFile('c1').get('uid-map')).toBe(`0 ${BASE} 65536`);
  });

  test('what its users make has their ids: outside plus the base, in the private area without', async () => {
    await mappedRoot.put(at('srv/by-root'), 'root');
    await mappedRoot.call('mkdir', at('srv/open'), 0o777);
    await mappedRoot.call('chmod', at('srv/open'), 0o777);
    await mappedUser.put(at('srv/open/by-user'), 'user');
    await mappedUser.call('symlink', 'x', at('srv/open/link'));
    await mappedUser.call('mkfifo', at('srv/open/fifo'));
    await mappedUser.call('link', at('srv/open/by-user'), at('srv/open/second'));
    expect(await host.stat(at('srv/by-root'))).toMatchObject({ uid: BASE, gid: BASE });
    for (const name of ['by-user', 'link', 'fifo', 'second']) {
      expect(await host.stat(at(`srv/open/${name}`)), name).toMatchObject({ uid: BASE + 1000, gid: BASE + 1000 });
    }
    expect(inside('srv/by-root')).toMatchObject({ uid: 0, gid: 0 });
    for (const name of ['by-user', 'link', 'fifo', 'second']) expect(inside(`srv/open/${name}`), name).toMatchObject({ uid: 1000, gid: 1000 });
    // A folder with set-group-id hands its group on.
    await mappedUser.put(at('srv/group/made'), '');
    expect(await host.stat(at('srv/group/made'))).toMatchObject({ uid: BASE + 1000, gid: BASE + 1001 });
    expect(inside('srv/group/made')).toMatchObject({ uid: 1000, gid: 1001 });
  });

  test('permissions are those of the mapped users', async () => {
    expect(await mappedUser.errno('open', at('home/private'), O_RDONLY)).toBe('OK');
    expect(await mappedUser.errno('open', at('usr/lib/file'), O_RDWR)).toBe('EACCES');
    expect(await mappedUser.errno('chmod', at('usr/lib/file'), 0o777)).toBe('EPERM');
    expect(await mappedRoot.errno('open', at('usr/lib/file'), O_RDWR)).toBe('OK');
    const unmapped = new Agent();
    await unmapped.call('become', 1000, 1000);
    expect(await unmapped.errno('open', at('home/private'), O_RDONLY)).toBe('EACCES');
    await unmapped.end();
  });

  test('ids without a place in the map make nothing: EOVERFLOW', async () => {
    // Root of the host may do anything here but own something.
    expect(await host.errno('open', at('tmp/by-host'), O_CREAT | O_WRONLY)).toBe('EOVERFLOW');
    expect(await host.errno('mkdir', at('tmp/by-host'))).toBe('EOVERFLOW');
    expect(await host.errno('symlink', 'x', at('tmp/by-host'))).toBe('EOVERFLOW');
    expect(await host.errno('chown', at('data/file'), 7, -1)).toBe('EOVERFLOW');
    expect(await host.errno('lstat', at('tmp/by-host'))).toBe('ENOENT');
    expect(await host.errno('unlink', at('data/size-15'))).toBe('OK');
  });

  test('chown and chmod', async () => {
    await host.call('chown', at('data/file'), BASE + 5, BASE + 6);
    expect(await host.stat(at('data/file'))).toMatchObject({ uid: BASE + 5, gid: BASE + 6 });
    expect(inside('data/file')).toMatchObject({ uid: 5, gid: 6 });
    expect(await mappedUser.errno('chown', at('srv/open/by-user'), BASE, -1)).toBe('EPERM');
    await mappedUser.call('chmod', at('srv/open/by-user'), 0o640);
    expect(inside('srv/open/by-user').mode & 0o7777).toBe(0o640);
  });

  test('ACLs are kept with the ids of the container', async () => {
    const acl = (user: number): { hex: string } => {
      const entries = [[1, 6, -1], [2, 7, user], [4, 4, -1], [16, 7, -1], [32, 0, -1]] as const;
      const bytes = Buffer.alloc(4 + 8 * entries.length);
      bytes.writeUInt32LE(2);
      entries.forEach(([tag, permissions, id], index) => {
        bytes.writeUInt16LE(tag, 4 + 8 * index);
        bytes.writeUInt16LE(permissions, 6 + 8 * index);
        bytes.writeUInt32LE(id >>> 0, 8 + 8 * index);
      });
      return { hex: bytes.toString('hex') };
    };
    const name = 'system.posix_acl_access';
    await mappedRoot.call('setxattr', at('usr/lib/other'), name, acl(BASE + 1000));
    expect(await mappedRoot.call('getxattr', at('usr/lib/other'), name)).toBe(acl(BASE + 1000).hex);
    expect(await host.call('getxattr', join(store.path, 'private/c1/root/usr/lib/other'), name)).toBe(acl(1000).hex);
    expect(await mappedUser.errno('open', at('usr/lib/other'), O_RDWR)).toBe('OK');
    // data/acl of the template names user 1000.
    expect(await mappedUser.errno('open', at('data/acl'), O_RDWR)).toBe('OK');
    expect(await host.call('getxattr', at('data/acl'), name)).toContain(Buffer.from(Uint32Array.of(BASE + 1000).buffer).toString('hex'));
    expect(await host.errno('setxattr', at('data/size-1'), name, acl(7))).not.toBe('OK');
  });

  test('set-id bits go with a write or a chown, as on any file system', async () => {
    await mappedUser.put(at('srv/open/set-id'), 'x');
    await mappedUser.call('chmod', at('srv/open/set-id'), 0o6755);
    expect(inside('srv/open/set-id').mode & 0o7777).toBe(0o6755);
    await mappedUser.put(at('srv/open/set-id'), 'y', O_WRONLY | O_APPEND);
    expect(inside('srv/open/set-id').mode & 0o7777).toBe(0o755);
    await mappedUser.call('chmod', at('srv/open/set-id'), 0o6755);
    await mappedUser.call('chown', at('srv/open/set-id'), -1, BASE + 1000);
    expect(inside('srv/open/set-id').mode & 0o7777).toBe(0o755);
    // Capabilities in a user namespace of one's own count for nobody else's files: a chown that changes nothing takes
    // set-id bits away, and only the owner may do that.
    await mappedRoot.put(at('srv/open/of-root'), 'x');
    await mappedRoot.call('chmod', at('srv/open/of-root'), 0o4755);
    const ended = await runProgram('setpriv', ['--reuid', String(BASE + 1000), '--regid', String(BASE + 1000), '--clear-groups', 'unshare', '--user', '--map-root-user', 'chown', '0', at('srv/open/of-root')]);
    expect(ended.status).not.toBe(0);
    expect(inside('srv/open/of-root').mode & 0o7777).toBe(0o4755);
  });

  test('data, by passthrough and through mappings; xattrs; a killed worker', async () => {
    const fd = await mappedRoot.open(at('usr/lib/size-65536'), O_RDWR);
    await mappedRoot.write(fd, 'written');
    await mappedRoot.mapWrite(await mappedRoot.map(fd, 4096, true), 'mapped', 100);
    await store.killWorker('c1');
    expect(await mappedRoot.read(fd, 6, 100)).toBe('mapped');
    await mappedRoot.call('setxattr', at('srv/by-root'), 'user.note', hex('note'));
    expect(await host.call('getxattr', at('srv/by-root'), 'user.note')).toBe(hex('note').hex);
    await mappedRoot.put(at('tmp/after'), 'after');
    expect(inside('tmp/after')).toMatchObject({ uid: 0 });
    await mappedRoot.close(fd);
  });
});

describe('exec', () => {
  test('runs as root of the container, who is nobody on the host', async () => {
    const ids = await execOk('id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map');
    expect(ids.trim().split(/\s+/)).toEqual(['0', '0', '0', String(BASE), '65536', '0', String(BASE), '65536']);
    await execOk('echo made > /srv/by-exec; busybox chown 1000:1001 /srv/by-exec; busybox chmod 6755 /srv/by-exec; busybox touch /tmp/x /run/x');
    expect(inside('srv/by-exec')).toMatchObject({ uid: 1000, gid: 1001 });
    expect(inside('srv/by-exec').mode & 0o7777).toBe(0o6755);
    expect(await host.stat(at('srv/by-exec'))).toMatchObject({ uid: BASE + 1000, gid: BASE + 1001 });
    expect(await execOk('busybox stat -c "%u %g %a" /srv/by-exec /home/private /tmp /run')).toBe('1000 1001 6755\n1000 1000 600\n0 0 1777\n0 0 755\n');
  });

  test('what it runs is bounded as without a map', async () => {
    const status = await execOk('busybox grep -E "^Cap|NoNewPrivs|Seccomp:" /proc/self/status');
    const sets = new Set([...status.matchAll(/^Cap\w+:\s+(\w+)$/gm)].map(([, set]) => set));
    expect(sets.size).toBe(1);
    expect(Number.parseInt([...sets][0] ?? '', 16) & (1 << 21)).toBe(0); // sys_admin
    expect(status).toMatch(/NoNewPrivs:\s+1/);
    expect((await exec('busybox', 'mount', '-t', 'tmpfs', 'x', '/mnt')).status).not.toBe(0);
    expect((await exec('busybox', 'chown', '70000', '/srv/by-exec')).status).not.toBe(0);
    expect((await exec('sh', '-c', 'exit 7')).status).toBe(7);
  });

  test('mounts with the map for the time, if need be', async () => {
    await store.ok('create', 'c2', '--ostemplate', 't', '--uidmap', '0:200000:1000', '--gidmap', '0:300000:1000');
    const ended = await store.run(['exec', 'c2', '--', 'sh', '-c', 'busybox cat /proc/self/gid_map; busybox touch /srv/x; busybox chown 999:998 /srv/x']);
    expect(ended, ended.stderr).toMatchObject({ status: 0 });
    expect(ended.stdout.trim().split(/\s+/)).toEqual(['0', '300000', '1000']);
    expect(lstatSync(join(store.path, 'private/c2/root/srv/x'))).toMatchObject({ uid: 999, gid: 998 });
    expect((await store.info('c2')).state).toBe('stopped');
    await store.ok('destroy', 'c2');
  });
});

describe('the map', () => {
  test('can be left out or changed for one mount; the files are the same', async () => {
    for (const agent of [mappedRoot, mappedUser]) await agent.end();
    await store.ok('umount', 'c1');
    root = await store.mount('c1', '--idmap', 'none');
    expect(await host.stat(at('srv/by-exec'))).toMatchObject({ uid: 1000, gid: 1001 });
    expect(await host.stat(at('srv/open/by-user'))).toMatchObject({ uid: 1000, gid: 1000 });
    expect(await store.info('c1')).toMatchObject({ idMap: null });
    await host.put(at('srv/by-host'), 'x');
    expect(inside('srv/by-host')).toMatchObject({ uid: 0, gid: 0 });
    await store.refuses(['mount', 'c1', '--idmap', MAP], { status: 11, code: 'BUSY', message: /map of ids/ });
    await store.ok('umount', 'c1');
    root = await store.mount('c1', '--idmap', '0:500000:1000', '--idmap', '1000:700000:10');
    expect(await host.stat(at('srv/by-host'))).toMatchObject({ uid: 500_000, gid: 500_000 });
    expect(await host.stat(at('srv/open/by-user'))).toMatchObject({ uid: 700_000, gid: 700_000 });
    await store.ok('umount', 'c1');
  });

  test('survives a rebuilt catalog', async () => {
    await store.ok('catalog', 'rebuild');
    expect(await store.info('c1')).toMatchObject({ idMap: { uids: [MAP], gids: [MAP] } });
    expect(await store.ok('info', 'c1')).toContain(MAP);
    await store.expectSound();
  });

  test.each([['0:100000'], ['0:100000:0'], ['a:b:c'], ['0:4294967295:1'], ['0:100000:10', '--idmap', '5:200000:10'], ['0:1:1', '--uidmap', '0:1:1']])(
    'what is no map is refused: %s',
    async (...words) => {
      await store.refuses(['create', 'bad', '--ostemplate', 't', '--idmap', ...words], { status: 2, code: 'USAGE', message: /./ });
    },
  );

  test('the engine refuses maps that the kernel would not take', async () => {
    const ended = await runProgram(ENGINE, ['mount', '--store', store.path, '--container', 'c1', '--mountpoint', scratch.makeFolder(), '--uid-map', '0:1:1']);
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    expect(ended.stderr).toMatch(/^templatefs-engine: USAGE: .*\n$/);
  });
});
