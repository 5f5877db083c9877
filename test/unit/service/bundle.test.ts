import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bundleContainer, type BundleOptions } from '../../../src/service/bundle-container.js';
import { createContainer } from '../../../src/service/create-container.js';
import type { IdMaps } from '../../../src/core/id-map.js';
import { temporaryFolder } from '../catalog/temporary-store.js';
import { scriptEngine } from '../engine/script-engine.js';
import { storeWithTemplate } from './store-with-template.js';

const asRoot = describe.skipIf(process.geteuid?.() !== 0);
if (process.geteuid?.() !== 0) console.warn('skipped: tests of services need root');

const IDS: IdMaps = { uids: [{ container: 0, host: 100_000, size: 1000 }], gids: [{ container: 0, host: 200_000, size: 4 }] };

interface Config {
  readonly process: { args: string[]; env: string[]; cwd: string; terminal: boolean; user: object; capabilities: { effective: string[] } };
  readonly root: object;
  readonly hostname: string;
  readonly mounts: { destination: string; options: string[] }[];
  readonly hooks: { poststop: { path: string; args: string[] }[] };
  readonly annotations: Record<string, string>;
  readonly linux: { namespaces: { type: string }[]; uidMappings?: object[]; gidMappings?: object[] };
}

function configOf(bundle: string): Config {
  return JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as Config;
}

asRoot('bundle', () => {
  const base: Omit<BundleOptions, 'name' | 'folder'> = { command: [], env: {}, terminal: false };

  test('writes config, root folder and a program that mounts; a shell if nobody names a command', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c+1', template: 't' });
    scriptEngine('echo "$*"');
    const folder = join(temporaryFolder(), "it's a bundle");
    const made = await bundleContainer(context, { ...base, name: 'c+1', folder });
    expect(made).toEqual({ name: 'c+1', bundle: folder, rootfs: join(folder, 'rootfs'), mount: join(folder, 'mount'), umount: join(folder, 'umount'), args: ['/bin/sh'] });
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'mount', 'rootfs', 'umount']);
    expect(statSync(join(folder, 'rootfs')).mode & 0o777).toBe(0o755);
    const config = configOf(folder);
    expect(config.process).toMatchObject({ args: ['/bin/sh'], cwd: '/', terminal: false, user: { uid: 0, gid: 0 } });
    expect(config.process.env).toEqual([expect.stringMatching(/^PATH=/)]);
    expect(config.hostname).toBe('c-1');
    expect(config.root).toEqual({ path: 'rootfs', readonly: false });
    expect(config.linux.uidMappings).toBeUndefined();
    expect(config.linux.namespaces.map(({ type }) => type)).not.toContain('user');
    expect(config.annotations).toEqual({ 'org.templatefs.container': 'c+1', 'org.templatefs.store': paths.store });
    expect(config.hooks.poststop).toMatchObject([{ path: join(folder, 'umount'), args: [join(folder, 'umount')] }]);
    expect(execFileSync(made.umount, { encoding: 'utf8' })).toBe('');
    // The words reach the engine as they are, whatever is in them.
    expect(execFileSync(made.mount, { encoding: 'utf8' })).toBe(`mount --store ${paths.store} --container c+1 --mountpoint ${join(folder, 'rootfs')}\n`);
  });

  test('what cannot be written to its end leaves nothing that it made, and all that was there', async () => {
    const { context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const folder = join(temporaryFolder(), 'b');
    mkdirSync(join(folder, 'umount'), { recursive: true });
    await expect(bundleContainer(context, { ...base, name: 'c1', folder })).rejects.toThrow();
    expect(readdirSync(folder)).toEqual(['umount']);
    mkdirSync(join(folder, 'new'));
    await expect(bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'new'), user: 'nobody-there' })).rejects.toThrow();
    expect(readdirSync(join(folder, 'new'))).toEqual([]);
  });

  test('command, environment, folder, user, terminal', async () => {
    const { context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const folder = join(temporaryFolder(), 'b');
    await bundleContainer(context, { ...base, name: 'c1', folder, command: ['run', '--', 'x'], env: { PATH: '/p', A: 'b=c' }, workdir: '/srv', user: '1000:7', terminal: true });
    expect(configOf(folder).process).toMatchObject({ args: ['run', '--', 'x'], env: ['PATH=/p', 'TERM=xterm', 'A=b=c'], cwd: '/srv', user: { uid: 1000, gid: 7 }, terminal: true, capabilities: { effective: [] } });
  });

  test('the map of the container, or another, or none', async () => {
    const { context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't', ids: IDS });
    const folder = temporaryFolder();
    const own = join(folder, 'own');
    scriptEngine('echo "$*"');
    const { mount } = await bundleContainer(context, { ...base, name: 'c1', folder: own });
    expect(configOf(own).linux).toMatchObject({
      uidMappings: [{ containerID: 0, hostID: 100_000, size: 1000 }],
      gidMappings: [{ containerID: 0, hostID: 200_000, size: 4 }],
    });
    expect(configOf(own).linux.namespaces).toContainEqual({ type: 'user' });
    // Group 5 is not in the map, so terminals cannot be given to it.
    expect(configOf(own).mounts.find(({ destination }) => destination === '/dev/pts')?.options).not.toContain('gid=5');
    expect(execFileSync(mount, { encoding: 'utf8' })).not.toContain('map');
    const none = await bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'none'), ids: null });
    expect(configOf(none.bundle).linux.namespaces).not.toContainEqual({ type: 'user' });
    expect(configOf(none.bundle).mounts.find(({ destination }) => destination === '/dev/pts')?.options).toContain('gid=5');
    expect(execFileSync(none.mount, { encoding: 'utf8' })).toContain('--no-idmap');
    const other = await bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'other'), ids: { uids: IDS.uids, gids: IDS.uids } });
    expect(execFileSync(other.mount, { encoding: 'utf8' })).toContain('--uid-map 0:100000:1000 --gid-map 0:100000:1000');
  });

  test('refuses what is there already, the store, a file, and a parent that is not there', async () => {
    const { paths, context } = await storeWithTemplate();
    await createContainer(context, { name: 'c1', template: 't' });
    const folder = temporaryFolder();
    await bundleContainer(context, { ...base, name: 'c1', folder });
    await expect(bundleContainer(context, { ...base, name: 'c1', folder })).rejects.toMatchObject({ code: 'FAILED', message: expect.stringContaining('already') as string });
    expect((await bundleContainer(context, { ...base, name: 'c1', folder, command: ['x'], force: true })).args).toEqual(['x']);
    await expect(bundleContainer(context, { ...base, name: 'c1', folder: join(paths.store, 'b') })).rejects.toMatchObject({ code: 'USAGE' });
    writeFileSync(join(folder, 'file'), '');
    await expect(bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'file') })).rejects.toMatchObject({ code: 'FAILED' });
    await expect(bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'no/b') })).rejects.toMatchObject({ code: 'FAILED', hint: expect.stringContaining('parent') as string });
    await expect(bundleContainer(context, { ...base, name: 'c9', folder: join(folder, 'c9') })).rejects.toMatchObject({ code: 'CONTAINER_NOT_FOUND' });
    mkdirSync(join(folder, 'half'));
    writeFileSync(join(folder, 'half/rootfs'), '');
    await expect(bundleContainer(context, { ...base, name: 'c1', folder: join(folder, 'half') })).rejects.toMatchObject({ code: 'FAILED', message: expect.stringContaining('no folder') as string });
  });
});
