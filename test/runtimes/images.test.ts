import { appendFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Registry } from '../support/registry.js';
import { buildRoot, compareTrees } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';
import type { TestStore } from '../support/test-store.js';

/* Images that umoci makes and skopeo carries about, imported; umoci's own unpacking says what is right. */

const scratch = useScratch();
let store: TestStore;
let layout = '';
let unpacked = '';

/** Changes what is unpacked and makes a layer of it. */
async function addLayer(change: (root: string) => void | Promise<void>): Promise<void> {
  const bundle = scratch.path('bundle');
  await runOk('umoci', ['unpack', '--image', `${layout}:web`, bundle]);
  await change(join(bundle, 'rootfs'));
  await runOk('umoci', ['repack', '--image', `${layout}:web`, bundle]);
  await runOk('rm', ['-rf', bundle]);
}

interface Imported {
  readonly tree: string;
  readonly newObjects: number;
}

beforeAll(async () => {
  store = scratch.makeStore();
  layout = join(scratch.makeFolder('layouts'), 'image');
  await runOk('umoci', ['init', '--layout', layout]);
  await runOk('umoci', ['new', '--image', `${layout}:web`]);
  await addLayer(async (root) => {
    await buildRoot(root);
    // GNU tar, which export uses, does not know devices with two names.
    rmSync(join(root, 'dev/disk-2'));
  });
  await addLayer((root) => {
    rmSync(join(root, 'usr/lib/file'));
    rmSync(join(root, 'data/folder'), { recursive: true });
    rmSync(join(root, 'usr/lib/folder'), { recursive: true });
    mkdirSync(join(root, 'usr/lib/folder'));
    writeFileSync(join(root, 'usr/lib/folder/new'), 'in a folder that was made anew\n');
    appendFileSync(join(root, 'data/hard-a'), 'and more\n');
    appendFileSync(join(root, 'etc/passwd'), 'web:x:33:34::/srv:/bin/sh\n');
    appendFileSync(join(root, 'etc/group'), 'web:x:34:\nadm:x:4:web\n');
  });
  await addLayer((root) => {
    rmSync(join(root, 'data/symlink'));
    mkdirSync(join(root, 'data/symlink'));
    rmSync(join(root, 'data/many'), { recursive: true });
    symlinkSync('file', join(root, 'data/many'));
    writeFileSync(join(root, 'usr/lib/file'), 'back again\n');
  });
  await runOk('umoci', ['config', '--image', `${layout}:web`, '--clear=config.cmd', '--config.entrypoint=/bin/sh', '--config.entrypoint=-c', '--config.cmd=pwd; echo $WHO $HOME; id -u',
    '--config.env=WHO=image', '--config.env=HOME=/srv', '--config.user=web', '--config.workingdir=/srv', '--config.label=org.example.a=b']);
  const bundle = scratch.path('reference');
  await runOk('umoci', ['unpack', '--image', `${layout}:web`, bundle]);
  unpacked = join(bundle, 'rootfs');
});

describe('an image of several layers', () => {
  test('has everything that umoci unpacks, with all metadata', async () => {
    expect(await store.json('template', 'import', 'web', `oci:${layout}:web`)).toMatchObject({ name: 'web', version: 1 });
    await store.ok('create', 'c1', '--ostemplate', 'web');
    const root = await store.mount('c1');
    const compared = await compareTrees(unpacked, root);
    expect(compared.differences).toBe('');
    expect(compared.entries).toBeGreaterThan(400);
    expect(readFileSync(join(root, 'usr/lib/file'), 'utf8')).toBe('back again\n');
    await store.ok('umount', 'c1');
    await store.expectSound();
  });

  test('its configuration is kept, and used by exec and bundle', async () => {
    expect(await store.json('template', 'info', 'web')).toMatchObject({
      source: expect.stringMatching(/^image oci:.*:web sha256:[0-9a-f]{64}$/) as string,
      image: { entrypoint: ['/bin/sh', '-c'], env: expect.arrayContaining(['WHO=image']) as string[], user: 'web', workdir: '/srv', labels: { 'org.example.a': 'b' } },
    });
    expect(await store.ok('exec', 'c1')).toBe('/srv\nimage /srv\n0');
    expect(await store.ok('exec', 'c1', '--env', 'WHO=me', '--workdir', '/', '--', 'sh', '-c', 'pwd; echo $WHO')).toBe('/\nme');
    const bundle = scratch.path('bundle');
    await store.ok('bundle', 'c1', bundle);
    expect(JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))).toMatchObject({
      process: { args: ['/bin/sh', '-c', expect.stringMatching(/^pwd/) as string], cwd: '/srv', user: { uid: 33, gid: 34, additionalGids: [4] } },
      annotations: { 'org.example.a': 'b', 'org.templatefs.container': 'c1' },
    });
  });

  test('is the same tree from every other form', async () => {
    const { tree } = (await store.json('template', 'info', 'web')) as Imported;
    const archive = (name: string): string => scratch.path(name);
    const [docker, oci, zstd] = [archive('docker.tar'), archive('oci.tar'), archive('zstd')];
    await runOk('skopeo', ['copy', '-q', `oci:${layout}:web`, `docker-archive:${docker}:web:1`]);
    await runOk('skopeo', ['copy', '-q', `oci:${layout}:web`, `oci-archive:${oci}:web`]);
    await runOk('skopeo', ['copy', '-q', '--dest-compress-format', 'zstd', '--dest-compress', `oci:${layout}:web`, `oci:${zstd}:web`]);
    await runOk('gzip', ['-1', '-k', docker]);
    for (const [at, source] of [`docker-archive:${docker}`, `docker-archive:${docker}.gz:web:1`, `oci-archive:${oci}:web`, `oci:${zstd}`].entries()) {
      expect(await store.json('template', 'import', `again-${at}`, source), source).toMatchObject({ tree, newObjects: 0 });
    }
  });

  test('one whose blob was changed on the disk is refused by name, and nothing is kept', async () => {
    const copy = scratch.path('broken');
    await runOk('cp', ['-a', layout, copy]);
    const largest = (await runOk('sh', ['-c', `ls -S '${copy}'/blobs/sha256/* | head -1`])).trim();
    await runOk('sh', ['-c', `printf x | dd of='${largest}' bs=1 seek=5000 conv=notrunc status=none`]);
    await store.refuses(['template', 'import', 'broken', `oci:${copy}:web`], { status: 1, code: 'BAD_ARCHIVE', message: /layer 1 of 3 \(sha256:/ });
    await store.refuses(['template', 'import', 'broken', `oci:${layout}:none`], { status: 1, code: 'FAILED', message: /no image "none"/ });
    await store.refuses(['template', 'import', 'broken', `oci:${layout}:web`, '--platform', 'linux/s390x'], { status: 1, code: 'BAD_ARCHIVE', message: /not for linux\/s390x/ });
    expect(((await store.json('template', 'list')) as { name: string }[]).map(({ name }) => name)).not.toContain('broken');
  });
});

describe('export', () => {
  test('of a container that changed nothing: the same tree comes back, with the configuration; twice the same bytes', async () => {
    const folder = join(scratch.makeFolder('exported'), 'layout');
    const web = (await store.json('template', 'info', 'web')) as Imported & { image: object };
    await store.ok('create', 'unchanged', '--ostemplate', 'web', '--idmap', '0:100000:65536');
    const exported = (await store.json('export', 'unchanged', `oci:${folder}:v1`)) as { digest: string };
    expect(await store.json('export', 'unchanged', `oci:${folder}:v2`)).toMatchObject({ digest: exported.digest });
    const file = scratch.path('exported.tar');
    await store.ok('export', 'unchanged', file);
    for (const source of [`oci:${folder}:v1`, `oci:${folder}:v2`, `oci-archive:${file}`]) {
      expect(await store.json('template', 'import', 'back', source), source).toMatchObject({ tree: web.tree, newObjects: 0 });
      expect(await store.json('template', 'info', 'back')).toMatchObject({ image: web.image });
      await store.ok('template', 'remove', 'back');
    }
    expect(await store.info('unchanged')).toMatchObject({ state: 'stopped', stale: null });
    // Ids would be written as the host sees them.
    await store.mount('unchanged');
    await store.refuses(['export', 'unchanged', `oci:${folder}:v3`], { status: 11, code: 'BUSY', message: /unchanged/ });
    await store.ok('umount', 'unchanged');
  });

  test('of a container that runs: what umoci unpacks of it is what it has', async () => {
    const layoutFolder = join(scratch.makeFolder('exported'), 'layout');
    await store.ok('create', 'changed', '--ostemplate', 'web');
    const root = await store.mount('changed');
    writeFileSync(join(root, 'data/hard-b'), 'changed by one of its names\n');
    rmSync(join(root, 'usr/lib/many'), { recursive: true });
    mkdirSync(join(root, 'srv/made'), { mode: 0o2700 });
    await store.ok('export', 'changed', `oci:${layoutFolder}`);
    const bundle = scratch.path('bundle');
    await runOk('umoci', ['unpack', '--image', `${layoutFolder}:latest`, bundle]);
    expect((await compareTrees(root, join(bundle, 'rootfs'))).differences).toBe('');
    expect(await runOk('skopeo', ['inspect', '--config', `oci:${layoutFolder}:latest`])).toContain('"WHO=image"');
    await store.ok('umount', 'changed');
  });

  test('to nowhere, to a folder of something else', async () => {
    await store.refuses(['export', 'none', 'oci:x'], { status: 10, code: 'CONTAINER_NOT_FOUND', message: /none/ });
    for (const target of ['-', 'oci:', 'dir:x']) await store.refuses(['export', 'c1', target], { status: 2, code: 'USAGE', message: /not a place/ });
    await store.refuses(['export', 'c1', 'oci:/dev/null/x'], { status: 1, code: 'FAILED', message: /\/dev\/null/ });
    await store.refuses(['export', 'c1', '/nonexistent/c1.tar'], { status: 1, code: 'FAILED', message: /cannot write \/nonexistent\/c1.tar/ });
    expect(await store.info('c1')).toMatchObject({ state: 'stopped', stale: null });
  });
});

describe('a registry', () => {
  let registry: Registry | undefined;
  let address = '';

  beforeAll(async () => {
    registry = await Registry.start(scratch);
    address = registry.address;
  });
  afterAll(() => {
    registry?.end();
  });

  test('an image that goes into it and comes back is the same tree; what is not there says so', async () => {
    const { tree } = (await store.json('template', 'info', 'web')) as Imported;
    await runOk('skopeo', ['copy', '-q', '--dest-tls-verify=false', `oci:${layout}:web`, `docker://${address}/some/web:2`]);
    expect(await store.json('template', 'import', 'pulled', `docker://${address}/some/web:2`, '--no-tls-verify')).toMatchObject({ tree, newObjects: 0 });
    expect(await store.json('template', 'info', 'pulled')).toMatchObject({ source: expect.stringMatching(/^image docker:\/\/127.* sha256:/) as string, image: { user: 'web' } });
    await store.ok('export', 'unchanged', `docker://${address}/some/exported:1`, '--no-tls-verify');
    expect(await store.json('template', 'import', 'exported', `docker://${address}/some/exported:1`, '--no-tls-verify')).toMatchObject({ tree });
    await store.refuses(['template', 'import', 'none', `docker://${address}/some/web:3`, '--no-tls-verify'], { status: 1, code: 'FAILED', message: /skopeo could not copy .*manifest unknown/ });
    await store.refuses(['template', 'import', 'none', `docker://${address}/some/web:2`], { status: 1, code: 'FAILED', message: /skopeo could not copy/ });
    await store.refuses(['template', 'import', 'none', 'docker://--help'], { status: 2, code: 'USAGE', message: /not a reference/ });
    await store.expectSound();
  });
});
