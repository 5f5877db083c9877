import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { asidePath, forgetBroken, listBroken, notePath, readNote, setAside } from '../../../src/store/broken-objects.js';
import { expectedContents } from '../../../src/store/content-sums.js';
import { importTar, type ImportOptions } from '../../../src/store/import-tar.js';
import { mendFromFile } from '../../../src/store/mend-from-file.js';
import { formatObjectId, objectPath, type ObjectReference } from '../../../src/store/object-id.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { verifyTrees } from '../../../src/store/verify-store.js';
import { archive, member } from './tar-builder.js';
import { names, temporaryFolder, temporaryStore } from './temporary-store.js';

/** Every content has the same fingerprint: what a forger would have to work for. */
const FORGED: ImportOptions = { hashBits: 0 };

async function load(paths: StorePaths, contents: readonly string[], options: ImportOptions = {}): Promise<string> {
  const parts = contents.map((content, index) => member({ name: `f${index}` }, content));
  return (await importTar(paths, Readable.from([archive(...parts)]), options)).tree;
}

function objectsOf(paths: StorePaths, tree: string): ObjectReference[] {
  const reader = TreeReader.open(paths.tree(tree));
  try {
    return [...reader.objects()];
  } finally {
    reader.close();
  }
}

function loseObject(paths: StorePaths, id: ObjectReference): void {
  const name = formatObjectId(id);
  const expected = expectedContents(paths, new Set([name])).get(name);
  setAside(paths, { id, size: expected?.size, sum: expected?.sum, found: 'now', problem: 'a test says so' });
}

function content(paths: StorePaths, id: ObjectReference): string {
  return readFileSync(objectPath(paths, id), 'utf8');
}

describe('an object that is set aside', () => {
  it('is gone from its place, with a note that says what belongs there', async () => {
    const paths = temporaryStore();
    const [object] = objectsOf(paths, await load(paths, ['right']));
    if (object === undefined) throw new Error('no object');
    loseObject(paths, object);
    expect(existsSync(objectPath(paths, object))).toBe(false);
    expect(readFileSync(asidePath(paths.broken, object), 'utf8')).toBe('right');
    expect(listBroken(paths)).toMatchObject([{ size: 5, found: 'now', problem: 'a test says so' }]);
    expect(listBroken(paths)[0]?.sum?.length).toBe(32);
    expect((await verifyTrees(paths)).lost.has(formatObjectId(object))).toBe(true);
    forgetBroken(paths, object);
    expect(names(paths.broken)).toEqual([]);
  });

  it('keeps its name also by a note that cannot be read', async () => {
    const paths = temporaryStore();
    const [object] = objectsOf(paths, await load(paths, ['right']));
    if (object === undefined) throw new Error('no object');
    loseObject(paths, object);
    writeFileSync(notePath(paths.broken, object), 'garbage');
    expect(readNote(paths.broken, object)).toMatchObject({ size: undefined, sum: undefined });
    const [again] = objectsOf(paths, await load(paths, ['right']));
    expect(again?.variant).toBe(1);
  });

  it('is mended by an import of its content, in the file that it was', async () => {
    const paths = temporaryStore();
    const tree = await load(paths, ['right', 'other']);
    const object = objectsOf(paths, tree).find((id) => content(paths, id) === 'right');
    if (object === undefined) throw new Error('no object');
    const { ino } = statSync(objectPath(paths, object));
    truncateSync(objectPath(paths, object), 2);
    loseObject(paths, object);
    const open = openSync(asidePath(paths.broken, object), 'r');
    expect(await load(paths, ['right', 'other'])).toBe(tree);
    expect([content(paths, object), statSync(objectPath(paths, object)).ino]).toEqual(['right', ino]);
    expect(readFileSync(open, 'utf8')).toBe('right');
    closeSync(open);
  });

  it('never gives its name to another content with its fingerprint', async () => {
    const paths = temporaryStore();
    const first = await load(paths, ['aaaaa'], FORGED);
    const [a] = objectsOf(paths, first);
    if (a === undefined) throw new Error('no object');
    loseObject(paths, a);
    const [b] = objectsOf(paths, await load(paths, ['bbbbb'], FORGED));
    expect(b?.variant).toBe(1);
    expect(existsSync(objectPath(paths, a))).toBe(false);
    // Nor does a source that is taken at its word: there is a SHA-256.
    await load(paths, ['ccccc'], { ...FORGED, mendOnly: [a.hash], trustFingerprint: true });
    expect(existsSync(objectPath(paths, a))).toBe(false);
    await load(paths, ['ccccc', 'aaaaa', 'ddddd'], { ...FORGED, mendOnly: [a.hash] });
    expect(content(paths, a)).toBe('aaaaa');
    // The source gave what was lost and nothing else.
    expect(names(join(paths.objects, '00'))).toHaveLength(2);
    expect(names(paths.staging)).toEqual([]);
  });

  it('is taken from a file only by its SHA-256, whatever the file says that it is', async () => {
    const paths = temporaryStore();
    const [object] = objectsOf(paths, await load(paths, ['right']));
    if (object === undefined) throw new Error('no object');
    rmSync(objectPath(paths, object));
    loseObject(paths, object);
    const [note] = listBroken(paths);
    if (note === undefined) throw new Error('no note');
    const file = join(temporaryFolder(), 'file');
    const offer = (text: string): boolean => {
      writeFileSync(file, text);
      const fd = openSync(file, 'r');
      try {
        return mendFromFile(paths, note, fd);
      } finally {
        closeSync(fd);
      }
    };
    expect([offer('wrong'), offer('right but longer'), offer('')]).toEqual([false, false, false]);
    expect(existsSync(objectPath(paths, object))).toBe(false);
    expect(offer('right')).toBe(true);
    expect(content(paths, object)).toBe('right');
    expect(statSync(objectPath(paths, object)).mode & 0o7777).toBe(0o400);
    expect(names(paths.staging)).toEqual([]);
  });

  it('without a known SHA-256 is taken only from a source that somebody answers for', async () => {
    const paths = temporaryStore();
    const tree = await load(paths, ['right']);
    const [object] = objectsOf(paths, tree);
    if (object === undefined) throw new Error('no object');
    rmSync(paths.sumsOf(tree));
    rmSync(objectPath(paths, object));
    loseObject(paths, object);
    await load(paths, ['right'], { mendOnly: [object.hash] });
    expect(existsSync(objectPath(paths, object))).toBe(false);
    await load(paths, ['right'], { mendOnly: [object.hash], trustFingerprint: true });
    expect(content(paths, object)).toBe('right');
  });
});
