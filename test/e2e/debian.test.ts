import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { PYTHON } from '../support/project.js';
import { compareTrees, unpackTar } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import { installerCases } from './installer-cases.js';
import { replayCases } from './replay-cases.js';

/*
 * The main job on real input: a Debian root made by mmdebstrap from a mirror. The tests of this file build on one another.
 * A mirror must be in reach.
 */
const DEFINITION = 'debian-12-x86_64';
const MINUTES = 60_000;

const scratch = useScratch();
const store = scratch.makeStore();
const archive = scratch.path('debian.tar');
let wanted = '';
let shared = new Map<string, string>();

/** What the store must never change while containers work. */
function expectTemplateUnchanged(): void {
  const now = store.sharedFiles();
  for (const [path, state] of shared) expect(now.get(path), path).toBe(state);
}

/** The real tool, whose archive is kept on its way: it is what the root is compared with. */
function toolThatKeepsItsArchive(real: string): string {
  const folder = scratch.makeFolder('bin');
  writeFileSync(join(folder, 'mmdebstrap'), `#!/bin/bash\nset -o pipefail\n'${real}' "$@" | tee '${archive}'\n`);
  chmodSync(join(folder, 'mmdebstrap'), 0o755);
  chmodSync(folder, 0o755);
  return folder;
}

describe('a real Debian root', { timeout: 8 * MINUTES }, () => {
  beforeAll(async () => {
    const real = (await runOk('sh', ['-c', 'command -v mmdebstrap'])).trim();
    const path = `${toolThatKeepsItsArchive(real)}:${process.env['PATH'] ?? ''}`;
    const ended = await store.run(['template', 'create', DEFINITION, '--json'], { env: { PATH: path }, timeoutMs: 6 * MINUTES });
    expect(ended.status, ended.stderr).toBe(0);
    expect(JSON.parse(ended.stdout)).toMatchObject({ name: DEFINITION, version: 1, tree: expect.stringMatching(/^[0-9a-f]{64}$/) as string, sharedObjects: 0 });
    expect(statSync(archive).size).toBeGreaterThan(50 << 20);
    wanted = await unpackTar(archive, scratch.makeFolder('unpacked'));
    rmSync(archive);
    await store.ok('create', 'c1', '--ostemplate', DEFINITION);
    await store.ok('create', 'c2', '--ostemplate', DEFINITION);
    shared = store.sharedFiles();
  }, 8 * MINUTES);

  test('is in the list, with what was asked for', async () => {
    const files = Number(await runOk('sh', ['-c', `find '${wanted}' -type f -printf '%i\\n' | sort -u | wc -l`]));
    const list = (await store.json('template', 'list')) as Record<string, unknown>[];
    expect(list).toHaveLength(1);
    expect(list[0]).toMatchObject({ name: DEFINITION, version: 1, files });
    expect(new Date(String(list[0]?.['created'])).toISOString()).toBe(list[0]?.['created']);
    const bytes = Number(await runOk(PYTHON, ['-c', SUM_OF_SIZES, wanted]));
    expect(list[0]?.['bytes']).toBe(bytes);
  });

  test('is the unpacked archive, entry for entry; and still is after chmod of every file', async () => {
    const root = await store.mount('c2');
    const fresh = await compareTrees(wanted, root);
    expect(fresh.differences).toBe('');
    expect(fresh.entries).toBeGreaterThan(5_000);
    await runOk('sh', ['-c', `find '${root}' -xdev -type f -exec chmod a+x,u+s {} +`]);
    await runOk(PYTHON, ['-c', RESTORE_MODES, wanted, root]);
    expect((await compareTrees(wanted, root)).differences).toBe('');
    // No content was copied: only empty files, which have no object to link to, are files of the container's own.
    const empty = Number(await runOk('sh', ['-c', `find '${wanted}' -type f -empty | wc -l`]));
    expect((await store.info('c2')).privateFiles).toBe(empty);
    await store.remount('c2');
    expect((await compareTrees(wanted, root)).differences).toBe('');
    await store.ok('umount', 'c2');
    await store.ok('destroy', 'c2');
    expectTemplateUnchanged();
  });

  test('can be entered by chroot', async () => {
    const root = await store.mount('c1');
    expect(await runOk('chroot', [root, '/bin/cat', '/etc/os-release'])).toContain('bookworm');
    expect(await runOk('chroot', [root, 'dpkg', '--verify'])).toBe('');
    expect(await runOk('chroot', [root, 'sh', '-c', 'echo kept > /srv/by-chroot && ls /srv'])).toBe('by-chroot\n');
  });

  test('takes packages by its own apt, in the sandbox', async () => {
    const ended = await store.run(['exec', 'c1', '--', 'sh', '-c', 'apt-get update && apt-get install -y python3 && python3 -c "print(1)"'], { timeoutMs: 6 * MINUTES });
    expect(ended.status, ended.stderr + ended.stdout.slice(-3000)).toBe(0);
    expect(ended.stdout).toMatch(/\n1\n$/);
    const info = await store.info('c1');
    expect(info).toMatchObject({ state: 'mounted', engineRestarts: 0, stale: null });
    expect(info.privateFiles).toBeGreaterThan(100);
  });

  test('keeps all of it over umount and mount', async () => {
    const before = scratch.makeFolder('before');
    const root = join(store.path, 'root/c1');
    await runOk('sh', ['-c', 'tar --format=posix --xattrs --xattrs-include="*" --acls --numeric-owner -C "$1" -cf - . | tar --xattrs --xattrs-include="*" --acls --numeric-owner -C "$2" -xpf -', 'sh', root, before]);
    await store.remount('c1');
    expect((await compareTrees(before, root)).differences).toBe('');
    rmSync(before, { recursive: true });
    expect(await store.ok('exec', 'c1', '--', 'python3', '-c', 'print(6 * 7)')).toBe('42');
    expect(await runOk('chroot', [root, 'cat', '/srv/by-chroot'])).toBe('kept\n');
    expect(await runOk('chroot', [root, 'dpkg', '--verify'])).toBe('');
    expect(await runOk('chroot', [root, 'dpkg', '--audit'])).toBe('');
    expect(await runOk('chroot', [root, 'dpkg-query', '-W', '-f', '${Status}', 'python3'])).toBe('install ok installed');
  });

  test('a package goes away again', async () => {
    const ended = await store.run(['exec', 'c1', '--no-network', '--', 'sh', '-c', 'apt-get purge -y --autoremove python3'], { timeoutMs: 3 * MINUTES });
    expect(ended.status, ended.stderr + ended.stdout.slice(-3000)).toBe(0);
    expect((await store.run(['exec', 'c1', '--', 'python3', '-V'])).status).not.toBe(0);
    expect(await runOk('chroot', [join(store.path, 'root/c1'), 'dpkg', '--verify'])).toBe('');
  });

  test('leaves tree and objects as they were', async () => {
    expectTemplateUnchanged();
    await store.expectSound();
  });

  test('diff names what was changed', async () => {
    const changes = (await store.json('diff', 'c1')) as { path: string; letter: string; change: string; type: string }[];
    const byPath = new Map(changes.map((change) => [change.path, change]));
    expect(byPath.get('/srv/by-chroot')).toMatchObject({ letter: 'A', change: 'added', type: 'file' });
    expect(byPath.get('/var/lib/dpkg/status')).toMatchObject({ letter: 'C', change: 'changed' });
    // What was not touched is not there.
    for (const path of ['/bin', '/usr/bin/perl', '/etc/os-release', '/usr/bin/apt']) expect(byPath.has(path), path).toBe(false);
    const sorted = changes.map(({ path }) => path);
    expect(sorted).toEqual([...sorted].sort());
    expect(await store.ok('diff', 'c1')).toContain('A /srv/by-chroot');
  });

  test('stats add up', async () => {
    await store.ok('create', 'c3', '--ostemplate', DEFINITION);
    const root = await store.mount('c3');
    await runOk('sh', ['-c', `cat '${root}'/usr/bin/* > /dev/null`]);
    const stats = (await store.json('stats')) as Stats;
    const [template] = (await store.json('template', 'list')) as { bytes: number }[];
    expect(stats.containers.map(({ name }) => name)).toEqual(['c1', 'c3']);
    const c3 = stats.containers[1];
    expect(c3).toMatchObject({ name: 'c3', logicalBytes: template?.bytes, privateBytes: expect.any(Number) as number, linkedBytes: 0, links: 0 });
    expect(c3?.privateBytes).toBeLessThan(100_000);
    const { disk, memory } = stats;
    expect(disk.logicalBytes).toBe(stats.containers.reduce((sum, { logicalBytes }) => sum + logicalBytes, 0));
    expect(disk.savedBytes).toBe(disk.logicalBytes - disk.storedBytes);
    expect(disk.ratio).toBeCloseTo(disk.logicalBytes / disk.storedBytes, 2);
    expect(disk.ratio).toBeGreaterThan(1);
    const allocated = Number((await runOk('du', ['-sB1', '--total', join(store.path, 'objects'), join(store.path, 'trees'), join(store.path, 'private')])).trim().split('\n').at(-1)?.split('\t')[0]);
    expect(Math.abs(disk.storedBytes - allocated)).toBeLessThan(allocated * 0.05);
    // Both roots are mounted from one template: each resident byte counts twice without sharing.
    expect(memory.residentBytes).toBeGreaterThan(1 << 20);
    expect(memory.withoutSharingBytes).toBe(2 * memory.residentBytes);
    expect(memory.savedBytes).toBe(memory.withoutSharingBytes - memory.residentBytes);
    const alone = (await store.json('stats', 'c3')) as Stats;
    expect(alone.containers).toMatchObject([{ name: 'c3', logicalBytes: c3?.logicalBytes, privateBytes: c3?.privateBytes }]);
    expect(alone.disk.logicalBytes).toBe(c3?.logicalBytes);
    for (const command of [['stats'], ['stats', 'c3'], ['list'], ['info', 'c1'], ['template', 'list'], ['template', 'info', DEFINITION]]) expect(await store.ok(...command)).not.toBe('');
    await store.ok('umount', 'c3');
    await store.ok('destroy', 'c3');
  });

  installerCases(scratch, store, DEFINITION);
  replayCases(scratch, store, DEFINITION);

  test('destroy leaves nothing', async () => {
    expect((await store.run(['destroy', 'c1'])).status).toBe(11);
    await store.ok('umount', 'c1');
    await store.ok('destroy', 'c1');
    for (const folder of ['private', 'root', 'private/.snapshots']) expect(readdirSync(join(store.path, folder)).filter((name) => name !== '.snapshots')).toEqual([]);
    expect(readdirSync(join(store.path, 'run')).filter((name) => name !== '.locks')).toEqual([]);
    expect(scratch.mounts()).toEqual([]);
    expect(scratch.processes()).toEqual([]);
    expect(await store.json('list')).toEqual([]);
    expectTemplateUnchanged();
    await store.expectSound();
    await store.ok('template', 'remove', DEFINITION);
    expect(await store.json('template', 'list')).toEqual([]);
    expect(existsSync(join(store.path, 'templates', DEFINITION))).toBe(false);
  });

  test('another template shares what is equal, also with one that is gone from the list', async () => {
    const folder = scratch.makeFolder('copy');
    await runOk('cp', ['-a', `${wanted}/usr`, folder]);
    mkdirSync(join(folder, 'etc'));
    writeFileSync(join(folder, 'etc/only-here'), 'only here, and longer than nothing');
    const added = (await store.json('template', 'import', 'copy', folder)) as { newObjects: number; sharedObjects: number };
    expect(added.newObjects).toBe(1);
    expect(added.sharedObjects).toBeGreaterThan(1000);
  });
});

const SUM_OF_SIZES = `
import os, stat, sys
sizes = {}
for parent, folders, files in os.walk(sys.argv[1]):
    for name in files:
        status = os.lstat(os.path.join(parent, name))
        if stat.S_ISREG(status.st_mode):
            sizes[status.st_ino] = status.st_size
print(sum(sizes.values()))
`;

const RESTORE_MODES = `
import os, stat, sys
for parent, folders, files in os.walk(sys.argv[1]):
    for name in files + folders:
        path = os.path.join(parent, name)
        status = os.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(os.path.join(sys.argv[2], os.path.relpath(path, sys.argv[1])), stat.S_IMODE(status.st_mode))
`;

interface Stats {
  readonly disk: { logicalBytes: number; storedBytes: number; savedBytes: number; ratio: number };
  readonly memory: { residentBytes: number; withoutSharingBytes: number; savedBytes: number };
  readonly containers: { name: string; logicalBytes: number; privateBytes: number; linkedBytes: number; links: number }[];
}
