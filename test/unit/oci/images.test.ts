import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import { FolderFiles, TarFiles } from '../../../src/oci/image-files.js';
import { formatImageSource, parseImageSource } from '../../../src/oci/image-source.js';
import { openDockerArchive } from '../../../src/oci/docker-archive.js';
import { openLayout, type ChooseOptions } from '../../../src/oci/oci-layout.js';
import { hostPlatform, platformOption } from '../../../src/oci/platform.js';
import { importLayers } from '../../../src/store/import-layers.js';
import { CONFIG, INDEX, LAYER, LayoutBuilder, MANIFEST, sha256 } from '../../support/oci-layout.js';
import { archive, member } from '../store/tar-builder.js';
import { dump, temporaryFolder, temporaryStore } from '../store/temporary-store.js';

const ARCH = hostPlatform().architecture;
const HOST = { os: 'linux', architecture: ARCH };
const tar = (name: string): Buffer => archive(member({ name }, name));

let layout: LayoutBuilder;
beforeEach(() => {
  layout = new LayoutBuilder(join(temporaryFolder(), 'image'));
});

/** The files of the image that is found. */
async function filesOf(options: ChooseOptions = {}): Promise<string[]> {
  const image = await openLayout(new FolderFiles(layout.folder), options);
  const store = temporaryStore();
  const { tree } = await importLayers(store, image.layers);
  return dump(store, tree).map((line) => line.split(' ')[0] ?? '').slice(1);
}

async function refuses(code: 'BAD_ARCHIVE' | 'FAILED', message: RegExp, options: ChooseOptions = {}): Promise<void> {
  await expect(filesOf(options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string, hint: expect.stringMatching(/./) as string });
}

describe('a layout', () => {
  test('of one image: its layers, configuration and digest', async () => {
    const manifest = layout.image([tar('a'), tar('b')], { architecture: ARCH, config: { Cmd: ['/b'] } });
    layout.add(manifest, 'any');
    expect(await filesOf()).toEqual(['/a', '/b']);
    const image = await openLayout(new FolderFiles(layout.folder), {});
    expect(image).toMatchObject({ digest: manifest.digest, config: { cmd: ['/b'], architecture: ARCH } });
    expect(image.sizeBytes).toBe([tar('a'), tar('b')].reduce((sum, layer) => sum + gzipSync(layer).length, 0));
  });

  test('of several: the one that is named, by tag or digest', async () => {
    const one = layout.image([tar('one')]);
    const two = layout.image([tar('two')]);
    layout.add(one, 'v1');
    layout.add(two, 'v2');
    expect([await filesOf({ reference: 'v1' }), await filesOf({ reference: 'v2' }), await filesOf({ reference: `@${one.digest}` })]).toEqual([['/one'], ['/two'], ['/one']]);
    await refuses('FAILED', /holds 2 images/);
    await refuses('FAILED', /no image "v3"/, { reference: 'v3' });
    layout.add(two, 'latest');
    expect(await filesOf({ reference: 'latest' })).toEqual(['/two']);
  });

  test('for several platforms: this one, or the one that is asked for; attestations are none', async () => {
    const other = ARCH === 'arm64' ? 'amd64' : 'arm64';
    const own = layout.image([tar('own')], { architecture: ARCH });
    const foreign = layout.image([tar('foreign')], { architecture: other, variant: 'v8' });
    const attestation = layout.image([tar('attestation')], { architecture: 'unknown', os: 'unknown' });
    const manifests = [
      { ...attestation, platform: { os: 'unknown', architecture: 'unknown' } },
      { ...foreign, platform: { os: 'linux', architecture: other, variant: 'v8' } },
      { ...own, platform: HOST },
    ];
    const index = layout.json({ schemaVersion: 2, mediaType: INDEX, manifests }, INDEX);
    layout.add(layout.json({ schemaVersion: 2, manifests: [index] }, INDEX), 'multi');
    await refuses('FAILED', /not made for linux/);
    layout.manifests.length = 0;
    layout.add(index, 'multi');
    expect(await filesOf()).toEqual(['/own']);
    expect(await filesOf({ platform: platformOption(`linux/${other}`) })).toEqual(['/foreign']);
    expect(await filesOf({ platform: platformOption(`linux/${other}/v8`) })).toEqual(['/foreign']);
    await refuses('FAILED', /not made for linux\/riscv64/, { platform: platformOption('linux/riscv64') });
    await refuses('FAILED', /not made for linux/, { platform: platformOption(`linux/${other}/v7`) });
  });

  test('an image of another platform than the one that is asked for, without an index', async () => {
    layout.add(layout.image([tar('a')], { architecture: 'riscv64' }));
    expect(await filesOf()).toEqual(['/a']);
    await refuses('BAD_ARCHIVE', /for linux\/riscv64, not for linux\/amd64/, { platform: platformOption('linux/amd64') });
  });
});

describe('a layout that is broken or hostile', () => {
  test.each<[string, RegExp, () => void]>([
    ['no layout', /no file oci-layout/, () => { rmSync(join(layout.folder, 'oci-layout')); }],
    ['another version', /version that is not known/, () => { layout.file('oci-layout', { imageLayoutVersion: '2.0.0' }); }],
    ['no index', /no index.json/, () => { rmSync(join(layout.folder, 'index.json')); }],
    ['an index that is no JSON', /index.json is no JSON/, () => { writeFileSync(join(layout.folder, 'index.json'), '{'); }],
    ['an index that is a list', /no manifests/, () => { layout.file('index.json', []); }],
    ['a digest that is a path', /no digest of sha256/, () => { layout.file('index.json', { manifests: [{ mediaType: MANIFEST, digest: 'sha256:../../../etc/passwd', size: 1 }] }); }],
    ['a digest that is none of ours', /no digest of sha256/, () => { layout.file('index.json', { manifests: [{ mediaType: MANIFEST, digest: 'md5:00', size: 1 }] }); }],
    ['a negative size', /no size/, () => { layout.file('index.json', { manifests: [{ mediaType: MANIFEST, digest: sha256(''), size: -1 }] }); }],
    ['a manifest that is missing', /is missing/, () => { layout.file('index.json', { manifests: [{ mediaType: MANIFEST, digest: sha256('x'), size: 1 }] }); }],
  ])('%s', async (_what, message, spoil) => {
    layout.add(layout.image([tar('a')]), 'a');
    spoil();
    await refuses('BAD_ARCHIVE', message);
  });

  const layer = (): { blob: ReturnType<LayoutBuilder['blob']>; path: string } => {
    const blob = layout.blob(gzipSync(tar('a')), `${LAYER}+gzip`);
    return { blob, path: layout.blobPath(blob.digest) };
  };

  test.each<[string, RegExp, (path: string) => void]>([
    ['a blob that was changed', /is not what its digest says/, (path) => { const bytes = readFileSync(path); bytes[4] = (bytes[4] ?? 0) ^ 1; writeFileSync(path, bytes); }],
    ['a blob that is cut short', /bytes; its descriptor says|cut short|gzip stream is broken/, (path) => { truncateSync(path, 40); }],
    ['a blob with more bytes', /more than the .* bytes/, (path) => { writeFileSync(path, 'more', { flag: 'a' }); }],
    ['a blob that is missing', /is missing/, (path) => { rmSync(path); }],
    ['a blob that is a folder', /no plain file/, (path) => { rmSync(path); mkdirSync(path); }],
    ['a blob that is a pipe', /no plain file/, (path) => { rmSync(path); execFileSync('mkfifo', [path]); }],
  ])('%s', async (_what, message, spoil) => {
    layout.add(layout.image([tar('a')]), 'a');
    spoil(layer().path);
    await refuses('BAD_ARCHIVE', message);
  });

  test('a blob that is a symlink is not followed', async () => {
    layout.add(layout.image([tar('a')]), 'a');
    const { path } = layer();
    renameSync(path, join(layout.folder, 'elsewhere'));
    symlinkSync('../../elsewhere', path);
    await refuses('FAILED', /ELOOP/);
  });

  test.each<[string, RegExp, () => object]>([
    ['no version', /none of version 2/, () => ({ schemaVersion: 1 })],
    ['an index in disguise', /has the type/, () => ({ manifests: [] })],
    ['another type', /has the type "x"/, () => ({ mediaType: 'x' })],
    ['no image but an artifact', /no image of a container/, () => ({ config: layout.json({}, 'application/vnd.oci.empty.v1+json') })],
    ['a layer of another type', /no layer that is known/, () => ({ layers: [{ ...layer().blob, mediaType: 'application/x-squashfs' }] })],
    ['a layer more than its configuration', /2 layers, its configuration 1/, () => ({ layers: [layer().blob, layer().blob] })],
    ['very many layers', /more than 1000 layers/, () => ({ layers: Array.from({ length: 1001 }, () => layer().blob) })],
    ['a configuration without layers', /names no layers/, () => ({ config: layout.json({ os: 'linux' }, CONFIG) })],
    ['a configuration that is none', /its configuration: its Env holds "X"/, () => ({ config: layout.json({ os: 'linux', config: { Env: ['X'] }, rootfs: { diff_ids: [sha256(tar('a'))] } }, CONFIG) })],
    ['a configuration of another system', /for windows\/amd64, not for linux/, () => ({ config: layout.json({ os: 'windows', architecture: 'amd64', rootfs: { diff_ids: [sha256(tar('a'))] } }, CONFIG) })],
    ['a configuration that is endless', /more than \d+ bytes/, () => ({ config: layout.blob(' '.repeat(9 << 20), CONFIG) })],
  ])('a manifest with %s', async (_what, message, more) => {
    layout.add(layout.image([tar('a')], {}, more()), 'a');
    await refuses('BAD_ARCHIVE', message);
  });

  test('an index that holds itself, as far as digests allow', async () => {
    let inner = layout.image([tar('a')]);
    for (let depth = 0; depth < 6; depth += 1) inner = layout.json({ schemaVersion: 2, manifests: [{ ...inner, platform: HOST }] }, INDEX);
    layout.add(inner);
    await refuses('BAD_ARCHIVE', /indexes in indexes/);
  });
});

describe('archives', () => {
  /** As `docker save` wrote it for years: a layer that two images share is stored once. */
  function dockerArchive(): Buffer {
    const config = JSON.stringify({ os: 'linux', architecture: ARCH, config: { Cmd: ['x'] }, rootfs: { diff_ids: [sha256(tar('a')), sha256(tar('b'))] } });
    const name = `${sha256(config).slice(7)}.json`;
    const images = [
      { Config: name, RepoTags: ['web:latest', 'docker.io/library/web:2', 'h:5000/web:latest'], Layers: ['1/layer.tar', '2/layer.tar'] },
      { Config: name, RepoTags: null, Layers: ['1/layer.tar', '3/layer.tar'] },
    ];
    return archive(
      member({ name: '1/', type: '5' }), member({ name: '1/layer.tar' }, tar('a')), member({ name: '2/layer.tar' }, tar('b')), member({ name: '3/layer.tar', type: '2', link: '../2/layer.tar' }),
      member({ name }, config), member({ name: 'manifest.json' }, JSON.stringify(images)),
    );
  }

  async function open(bytes: Buffer): Promise<TarFiles> {
    const file = join(temporaryFolder(), 'archive');
    writeFileSync(file, bytes);
    const folder = temporaryFolder();
    try {
      return await TarFiles.open(file, () => join(folder, 'scratch'));
    } finally {
      expect(readdirSync(folder)).toEqual([]);
    }
  }

  test.each<[string, (bytes: Buffer) => Buffer]>([['plain', (bytes) => bytes], ['gzip', gzipSync], ['zstd', (bytes) => execFileSync('zstd', ['-qc'], { input: bytes })]])('of docker save: %s', async (_what, pack) => {
    const files = await open(pack(dockerArchive()));
    try {
      const image = await openDockerArchive(files, { reference: 'web' });
      expect(image).toMatchObject({ digest: expect.stringMatching(/^sha256:/) as string, config: { cmd: ['x'] } });
      const store = temporaryStore();
      expect(dump(store, (await importLayers(store, image.layers)).tree)).toHaveLength(3);
      await expect(openDockerArchive(files, {})).rejects.toMatchObject({ message: expect.stringMatching(/holds 2 images/) as string, hint: expect.stringContaining('web:latest, docker.io/library/web:2') as string });
      for (const reference of ['web:2', 'docker.io/web:2', 'h:5000/web']) expect((await openDockerArchive(files, { reference })).digest).toBe(image.digest);
      await expect(openDockerArchive(files, { reference: 'web:3' })).rejects.toMatchObject({ code: 'FAILED' });
    } finally {
      await files.close();
    }
  });

  test('of docker save: a layer that is linked to, one that is missing, one that is another', async () => {
    const config = JSON.stringify({ os: 'linux', architecture: ARCH, rootfs: { diff_ids: [sha256(tar('a'))] } });
    const build = (...parts: Buffer[]): Promise<TarFiles> => open(archive(member({ name: 'manifest.json' }, JSON.stringify([{ Config: 'c', Layers: ['l'] }])), member({ name: 'c' }, config), ...parts));
    const cases: [Buffer[], RegExp | undefined][] = [
      [[member({ name: 'x/real' }, tar('a')), member({ name: 'l', type: '2', link: 'x/real' })], undefined],
      [[member({ name: 'x/real' }, tar('a')), member({ name: 'l', type: '1', link: 'x/real' })], undefined],
      [[member({ name: 'l', type: '2', link: '../../../../etc/passwd' })], /"l" is missing/],
      [[member({ name: 'l', type: '2', link: 'l' })], /leads to more symlinks/],
      [[], /"l" is missing/],
      [[member({ name: 'l' }, tar('b'))], /not what its digest says/],
    ];
    for (const [parts, message] of cases) {
      const files = await build(...parts);
      try {
        const work = importLayers(temporaryStore(), (await openDockerArchive(files, {})).layers);
        if (message === undefined) await work;
        else await expect(work).rejects.toMatchObject({ code: 'BAD_ARCHIVE', message: expect.stringMatching(message) as string });
      } finally {
        await files.close();
      }
    }
  });

  test('of an OCI layout', async () => {
    layout.add(layout.image([tar('a')]), 'x');
    const files = await open(execFileSync('tar', ['-C', layout.folder, '-cf', '-', '.']));
    try {
      expect((await openLayout(files, { reference: 'x' })).layers).toHaveLength(1);
    } finally {
      await files.close();
    }
  });

  test.each<[string, Buffer]>([['nothing', Buffer.alloc(0)], ['no tar', Buffer.alloc(2048, 'x')], ['a cut tar', tar('a').subarray(0, 700)], ['a broken gzip', gzipSync(tar('a')).subarray(0, 30)]])('%s is refused', async (_what, bytes) => {
    await expect(open(bytes)).rejects.toMatchObject({ code: 'BAD_ARCHIVE' });
  });

  test('without manifest.json', async () => {
    const files = await open(tar('a'));
    try {
      await expect(openDockerArchive(files, {})).rejects.toThrow(/no manifest.json/);
    } finally {
      await files.close();
    }
  });
});

describe('sources', () => {
  test('are told apart; a colon may be part of a path', () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'a:b'));
    const cases: [string, object | undefined][] = [
      [`oci:${folder}/a:b`, { transport: 'oci', path: `${folder}/a:b` }],
      [`oci:${folder}/a:b:v1`, { transport: 'oci', path: `${folder}/a:b`, reference: 'v1' }],
      [`oci:${folder}/a:b:some:v1`, { transport: 'oci', path: `${folder}/a:b`, reference: 'some:v1' }],
      [`oci:${folder}/a:b@sha256:00`, { transport: 'oci', path: `${folder}/a:b`, reference: '@sha256:00' }],
      [`docker-archive:${folder}/a:b:r/w:1`, { transport: 'docker-archive', path: `${folder}/a:b`, reference: 'r/w:1' }],
      ['docker://h:5000/a/b:1', { transport: 'docker', reference: 'h:5000/a/b:1' }],
      [`${folder}/oci:x`, undefined],
      ['-', undefined],
      ['oci', undefined],
    ];
    for (const [source, wanted] of cases) {
      const parsed = parseImageSource(source);
      expect(parsed, source).toEqual(wanted);
      if (parsed !== undefined) expect(formatImageSource(parsed)).toBe(source);
    }
    expect(() => parseImageSource(`oci:${folder}/none:v1`)).toThrow(/cannot read .*none: ENOENT/);
    expect(() => parseImageSource('oci:none')).toThrow(expect.objectContaining({ code: 'FAILED' }));
  });

  test.each(['linux', 'linux/', 'linux/amd64/v1/x', 'LINUX/amd64', '--help/x'])('%s is no platform', (text) => {
    expect(() => platformOption(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
