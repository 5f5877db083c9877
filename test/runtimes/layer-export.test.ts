import { chmodSync, linkSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { compareTrees } from '../support/roots.js';
import { runOk } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/* Only the changes of a container as a layer over the image that it stands on: for skopeo and umoci, and back into a store. */

const scratch = useScratch();
const store = scratch.makeInProcessStore();
const images = scratch.makeFolder('images');
const LONG = `${'long'.repeat(40)}-name`;
let root = '';

function put(path: string, content: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
}

beforeAll(async () => {
  const folder = scratch.makeFolder('template');
  for (const path of ['etc/hosts', 'etc/gone', `srv/${LONG}`, 'srv/deep/er/file', 'opt/replaced/one', 'opt/replaced/two', 'moved/a/file', 'kept/file', 'usr/lib/file']) put(join(folder, path), path);
  linkSync(join(folder, 'kept/file'), join(folder, 'usr/lib/same'));
  symlinkSync('hosts', join(folder, 'etc/link'));
  await store.make(folder, 'whole');
  await store.ok('export', 'whole', `oci:${images}:base`);
  await store.ok('template', 'import', 'image', `oci:${images}:base`);
  await store.ok('create', 'c1', '--ostemplate', 'image');
  root = await store.mount('c1');
  put(join(root, 'etc/hosts'), 'written');
  unlinkSync(join(root, 'etc/gone'));
  unlinkSync(join(root, 'srv', LONG));
  rmSync(join(root, 'opt/replaced'), { recursive: true });
  put(join(root, 'opt/replaced/two'), 'anew');
  renameSync(join(root, 'moved'), join(root, 'away'));
  chmodSync(join(root, 'srv/deep/er/file'), 0o4755);
  writeFileSync(join(root, 'usr/lib/same'), 'under two names');
  linkSync(join(root, 'usr/lib/file'), join(root, 'etc/linked'));
  unlinkSync(join(root, 'etc/link'));
  put(join(root, 'etc/link/in-a-folder-now'), 'file');
  await runOk('setfattr', ['-n', 'user.note', '-v', 'kept', join(root, 'etc/hosts')]);
});

test('diff --oci names what the layer adds, modifies and deletes', async () => {
  const changes = (await store.json('diff', 'c1', '--oci')) as { path: string; kind: string; type: string }[];
  const lines = changes.map(({ kind, path }) => `${kind} ${path}`);
  expect(lines.filter((line) => !/ \/(etc|srv|opt|usr\/lib|srv\/deep\/er)?$/.test(line))).toEqual([
    'add /away', 'add /away/a', 'add /away/a/file', 'delete /etc/gone', 'modify /etc/hosts', 'modify /etc/link', 'add /etc/link/in-a-folder-now', 'add /etc/linked',
    'modify /kept/file', 'delete /moved', 'modify /opt/replaced', 'delete /opt/replaced/one', 'modify /opt/replaced/two', 'modify /srv/deep/er/file', `delete /srv/${LONG}`,
    'modify /usr/lib/file', 'modify /usr/lib/same',
  ]);
});

test('the layer stands on the base’s own; it is the same each time, and comes back as the same tree', async () => {
  const { digest } = (await store.json('export', 'c1', `oci:${images}:changed`, '--base', `oci:${images}:base`)) as { digest: string };
  const again = scratch.makeFolder('again');
  expect(await store.json('export', 'c1', `oci:${again}:changed`, '--base', `oci:${images}:base`)).toMatchObject({ digest });

  const manifestOf = async (reference: string): Promise<{ layers: { digest: string; size: number }[] }> => JSON.parse(await runOk('skopeo', ['inspect', '--raw', `oci:${images}:${reference}`])) as { layers: { digest: string; size: number }[] };
  const [base, changed] = [await manifestOf('base'), await manifestOf('changed')];
  expect(changed.layers).toHaveLength(2);
  expect(changed.layers[0]).toEqual(base.layers[0]);
  const names = (await runOk('tar', ['-tzf', join(images, 'blobs/sha256', (changed.layers[1]?.digest ?? '').replace('sha256:', ''))])).trimEnd().split('\n');
  expect(names.filter((name) => name.includes('.wh.'))).toEqual(['./etc/.wh.gone', './.wh.moved', './opt/replaced/.wh.one', `./srv/.wh.${LONG}`]);
  expect(names.some((name) => name.endsWith('/in-a-folder-now'))).toBe(true);

  await store.ok('template', 'import', 'back', `oci:${images}:changed`);
  await store.ok('create', 'c2', '--ostemplate', 'back');
  const compared = await compareTrees(root, await store.mount('c2'));
  expect(compared.differences).toBe('');
  expect(compared.entries).toBeGreaterThan(20);
});

test('skopeo copies it, and umoci unpacks it to the same root', async () => {
  const copy = scratch.path('copy');
  await runOk('skopeo', ['copy', '--quiet', `oci:${images}:changed`, `oci:${copy}:copied`]);
  const bundle = scratch.path('bundle');
  await runOk('umoci', ['unpack', '--image', `${copy}:copied`, bundle]);
  const compared = await compareTrees(root, join(bundle, 'rootfs'));
  expect(compared.differences).toBe('');
  await runOk('umoci', ['stat', '--image', `${copy}:copied`]);
});

test('another image is no base; neither is a container whose template is none; nothing is left of what was refused', async () => {
  const before = readdirSync(join(images, 'blobs/sha256')).length;
  await store.refuses(['export', 'c1', `oci:${images}:x`, '--base', `oci:${images}:changed`], { status: 1, code: 'FAILED', message: /does not stand on/ });
  await store.refuses(['export', 'whole', `oci:${images}:x`, '--base', `oci:${images}:base`], { status: 1, code: 'FAILED', message: /does not stand on/ });
  await store.refuses(['export', 'c1', `oci:${images}:x`, '--base', images], { status: 2, code: 'USAGE', message: /not a base image/ });
  put(join(root, 'srv/.wh.name'), 'x');
  await store.refuses(['export', 'c1', `oci:${images}:x`, '--base', `oci:${images}:base`], { status: 1, code: 'FAILED', message: /\.wh\.name/ });
  unlinkSync(join(root, 'srv/.wh.name'));
  expect(readdirSync(join(images, 'blobs/sha256'))).toHaveLength(before);
  expect(readFileSync(join(images, 'index.json'), 'utf8')).not.toContain('"x"');
});
