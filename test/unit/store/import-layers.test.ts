import { gzipSync } from 'node:zlib';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { importLayers } from '../../../src/store/import-layers.js';
import { sha256 } from '../../support/oci-layout.js';
import { archive, member, pax, type Fields } from './tar-builder.js';
import { dump, names, temporaryStore } from './temporary-store.js';

type Part = Buffer;
const file = (name: string, data = name, fields: Fields = {}): Part => member({ name, ...fields }, data);
const folder = (name: string, fields: Fields = {}): Part => member({ name, type: '5', mode: 0o755, ...fields });
const symlink = (name: string, link: string): Part => member({ name, type: '2', link });
const hardLink = (name: string, link: string): Part => member({ name, type: '1', link });
const hide = (name: string): Part => member({ name });

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function layers(...all: readonly Part[][]): Parameters<typeof importLayers>[1] {
  return all.map((parts, at) => {
    const tar = archive(...parts);
    return { name: `layer ${at}`, diffId: sha256(tar), open: () => once(tar) };
  });
}

/** The paths of an image of these layers; files with the size of their content. */
async function paths(...all: readonly Part[][]): Promise<string[]> {
  const store = temporaryStore();
  const { tree } = await importLayers(store, layers(...all));
  return dump(store, tree).map((line) => line.split(' ')).map(([path, mode, , , , size]) => (mode?.startsWith('100') === true ? `${path ?? ''}=${size ?? ''}` : (path ?? '')));
}

const refused = (message: RegExp, ...all: readonly Part[][]): Promise<void> =>
  expect(importLayers(temporaryStore(), layers(...all))).rejects.toMatchObject({ code: 'BAD_ARCHIVE', message: expect.stringMatching(message) as string });

describe('layers', () => {
  it('are applied in order: later files, links and folders replace earlier ones', async () => {
    expect(await paths([folder('d'), file('d/a', '1'), file('b', '22'), file('f')], [file('d/a', '333'), folder('b'), symlink('f', 'd')])).toEqual(['/', '/b', '/d', '/d/a=3', '/f']);
  });

  it('a file takes the place of a folder with all that is in it', async () => {
    expect(await paths([folder('d'), file('d/a'), folder('d/e'), file('d/e/f')], [file('d', 'x')])).toEqual(['/', '/d=1']);
  });

  it('a folder keeps what it has and takes the new metadata', async () => {
    const store = temporaryStore();
    const { tree } = await importLayers(store, layers([folder('d'), file('d/a')], [folder('d', { mode: 0o700, uid: 7 }), file('d/b')]));
    expect(dump(store, tree).map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual(['/ 40755 0', '/d 40700 7', '/d/a 100644 0', '/d/b 100644 0']);
  });

  it('a whiteout hides a file, a symlink, a folder with all that is in it, or nothing', async () => {
    const below = [file('a'), symlink('s', 'a'), folder('d'), file('d/x'), folder('d/e'), file('d/e/y'), file('keep')];
    expect(await paths(below, [hide('.wh.a'), hide('.wh.s'), hide('.wh.d'), hide('.wh.none'), hide('none/.wh.x'), hide('keep/.wh.x')])).toEqual(['/', '/keep=4']);
  });

  it('a whiteout hides nothing of its own layer, whatever stands first', async () => {
    const below = [folder('d'), file('d/old')];
    for (const order of [[hide('.wh.d'), folder('d'), file('d/new', 'n')], [folder('d'), hide('.wh.d'), file('d/new', 'n')], [folder('d'), file('d/new', 'n'), hide('.wh.d')], [file('d/new', 'n'), hide('.wh.d')]]) {
      expect(await paths(below, order)).toEqual(['/', '/d', '/d/new=1']);
    }
    expect(await paths([file('f', 'old')], [file('f', 'x'), hide('.wh.f')])).toEqual(['/', '/f=1']);
    expect(await paths([file('f', 'old')], [hardLink('g', 'f'), hide('.wh.f'), hide('.wh.g')])).toEqual(['/', '/g=3']);
  });

  it('an opaque folder shows only what is of its own layer, whatever stands first', async () => {
    const below = [folder('d'), file('d/old'), folder('d/e'), file('d/e/old'), file('top')];
    for (const order of [[folder('d'), hide('d/.wh..wh..opq'), folder('d/e'), file('d/e/new', 'n')], [folder('d'), folder('d/e'), file('d/e/new', 'n'), hide('d/.wh..wh..opq')]]) {
      expect(await paths(below, order)).toEqual(['/', '/d', '/d/e', '/d/e/new=1', '/top=3']);
    }
    expect(await paths(below, [hide('.wh..wh..opq'), file('only', 'o')])).toEqual(['/', '/only=1']);
    // Hidden by one layer, back by the next.
    expect(await paths(below, [hide('d/.wh..wh..opq')], [file('d/old', 'back')])).toEqual(['/', '/d', '/d/old=4', '/top=3']);
  });

  it('what a layer places in a folder that it does not name is seen as its own', async () => {
    const below = [folder('d'), folder('d/e'), file('d/e/old')];
    // The folder was found for the layer before, and has to be found again.
    expect(await paths([...below, file('d/e/last')], [file('d/e/new', 'n'), hide('d/.wh..wh..opq')])).toEqual(['/', '/d', '/d/e', '/d/e/new=1']);
  });

  it('names that AUFS kept for itself are left out', async () => {
    expect(await paths([file('.wh..wh.aufs'), folder('.wh..wh.plnk'), file('.wh..wh.plnk/1.2'), file('a', 'x')])).toEqual(['/', '/a=1']);
  });

  it('paths go through symlinks of the image, and never out of it', async () => {
    const below = [folder('usr'), folder('usr/lib'), symlink('lib', 'usr/lib'), symlink('up', '../../..'), symlink('abs', '/usr/./lib/../lib'), symlink('gap', 'made/here')];
    expect(await paths(below, [file('lib/a', '1'), file('up/b', '1'), file('abs/c', '1'), file('gap/d', '1'), hardLink('abs/e', 'lib/a')])).toEqual(
      ['/', '/abs', '/b=1', '/gap', '/lib', '/made', '/made/here', '/made/here/d=1', '/up', '/usr', '/usr/lib', '/usr/lib/a=1', '/usr/lib/c=1', '/usr/lib/e=1'],
    );
    expect(await paths([...below, file('usr/lib/x')], [hide('lib/.wh.x')])).not.toContain('/usr/lib/x=9');
  });

  it('hard links to files of layers below stay hard links; a later change of one name leaves the others', async () => {
    const store = temporaryStore();
    const { tree } = await importLayers(store, layers([file('a', '1')], [hardLink('b', 'a')], [hardLink('c', 'b'), file('a', '22')]));
    const lines = dump(store, tree).map((line) => line.split(' '));
    expect(lines.map(([path, , , , nlink, size]) => [path, nlink, size])).toEqual([['/', expect.anything(), expect.anything()], ['/a', '1', '2'], ['/b', '2', '1'], ['/c', '2', '1']]);
  });

  it('what no layer shows any more becomes no object', async () => {
    const store = temporaryStore();
    expect(await importLayers(store, layers([file('a', 'gone'), file('b', 'changed'), file('c', 'kept')], [hide('.wh.a'), file('b', 'new')]))).toMatchObject({ files: 2, newObjects: 2 });
  });

  it('may be compressed, each in its own way', async () => {
    const store = temporaryStore();
    const tars = ['a', 'b', 'c', 'd'].map((name) => archive(file(name)));
    const packed = [tars[0], gzipSync(tars[1] ?? ''), execFileSync('zstd', ['-qc'], { input: tars[2] }), execFileSync('xz', ['-qc'], { input: tars[3] })];
    const { tree } = await importLayers(store, tars.map((tar, at) => ({ name: String(at), diffId: sha256(tar), open: () => once(packed[at] ?? tar) })));
    expect(dump(store, tree)).toHaveLength(5);
  });
});

describe('layers that are refused', () => {
  it.each<[string, RegExp, Part[][]]>([
    ['a path with ..', /layer 2 of 2 \(layer 1\): bad archive at byte 0: member "\.\.\/x": .*"\.\."/, [[file('a')], [file('../x')]]],
    ['a whiteout of ..', /whiteout of no name/, [[file('a')], [hide('.wh...')]]],
    ['a whiteout of .', /whiteout of no name/, [[hide('d/.wh..')]]],
    ['a whiteout of nothing', /whiteout of no name/, [[hide('.wh.')]]],
    ['what lies below a whiteout', /below a whiteout/, [[file('.wh.d/x')]]],
    ['a path below a file', /below something that is no folder/, [[file('a')], [file('a/b')]]],
    ['symlinks in a circle', /more than 40 symlinks/, [[symlink('a', 'b'), symlink('b', 'a')], [file('a/x')]]],
    ['a hard link to what was hidden', /does not stand before it in the image/, [[file('a')], [hide('.wh.a'), hardLink('b', 'a')]]],
    ['a hard link to a folder', /hard link to a folder/, [[folder('a')], [hardLink('b', 'a')]]],
    ['a hard link to the root', /does not stand before it/, [[hardLink('b', '/')]]],
    ['a whiteout of the root', /root can only be a folder/, [[file('.')]]],
  ])('%s', async (_what, message, all) => {
    await refused(message, ...all);
  });

  it('a content that is not what the configuration says; nothing is left of it', async () => {
    const store = temporaryStore();
    const [good] = layers([file('a', 'something')]);
    const bad = { name: 'x', diffId: sha256('other'), open: () => once(archive(file('b', 'something else'))) };
    await expect(importLayers(store, [...(good === undefined ? [] : [good]), bad])).rejects.toMatchObject({ code: 'BAD_ARCHIVE', message: expect.stringMatching(/layer 2 of 2 \(x\): .*its content is not what its digest says/) as string });
    expect([names(store.trees), names(store.objects), readdirSync(store.staging)]).toEqual([[], [], []]);
  });

  it('holes of all layers together that are larger than the limit', async () => {
    const sparse = [pax([['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.name', 's'], ['GNU.sparse.realsize', '6000000']]), member({ name: 's' }, Buffer.concat([Buffer.from('0\n'), Buffer.alloc(510)]))];
    await expect(importLayers(temporaryStore(), layers(sparse, sparse), { maxHoleBytes: 10_000_000 })).rejects.toThrow(/layer 2 .*holes/);
    await importLayers(temporaryStore(), layers(sparse), { maxHoleBytes: 10_000_000 });
  });
});
