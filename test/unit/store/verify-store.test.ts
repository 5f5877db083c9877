import { createHash } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { importTar } from '../../../src/store/import-tar.js';
import { objectPath } from '../../../src/store/object-id.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { verifyObjects, verifyTrees } from '../../../src/store/verify-store.js';
import { archive, member } from './tar-builder.js';
import { temporaryStore } from './temporary-store.js';

async function storeWith(count: number): Promise<{ paths: StorePaths; tree: string; objects: string[] }> {
  const paths = temporaryStore();
  const parts = Array.from({ length: count }, (_, i) => member({ name: `f${i}` }, `content ${i}`));
  const { tree } = await importTar(paths, Readable.from([archive(...parts)]));
  const reader = TreeReader.open(paths.tree(tree));
  const objects = [...reader.objects()].map((object) => objectPath(paths, object));
  reader.close();
  return { paths, tree, objects };
}

describe('verifyObjects', () => {
  it('finds nothing in a sound store, and in none', async () => {
    const { paths } = await storeWith(200);
    expect(await verifyObjects(paths)).toEqual({ checked: 200, problems: [] });
    expect(await verifyTrees(paths)).toEqual({ checked: 1, problems: [], lost: new Map(), withoutSums: [] });
    expect(await verifyObjects(temporaryStore())).toEqual({ checked: 0, problems: [] });
    expect(await verifyTrees(temporaryStore())).toMatchObject({ checked: 0, problems: [] });
  });

  it('names every broken object and stray file, and goes on', async () => {
    const { paths, objects } = await storeWith(10);
    const [changed = '', grown = '', open = '', owned = '', emptied = '', replaced = ''] = objects;
    writeFileSync(changed, 'CONTENT 0');
    writeFileSync(grown, 'content 0 and more');
    chmodSync(open, 0o644);
    chownSync(owned, 1, 1);
    writeFileSync(emptied, '');
    rmSync(replaced);
    symlinkSync('/etc/hostname', replaced);
    writeFileSync(join(paths.objects, 'stray'), '');
    mkdirSync(join(paths.objects, 'ff'), { recursive: true });
    writeFileSync(join(paths.objects, 'ff', 'stray'), '');
    const { checked, problems } = await verifyObjects(paths);
    expect(checked).toBe(10);
    const found = Object.fromEntries(problems.map(({ name, problem }) => [name, problem]));
    const id = (path: string): string => path.slice(-33).replace('/', '');
    expect(found).toEqual({
      [id(changed)]: 'its content is not what its name stands for',
      [id(grown)]: 'its content is not what its name stands for',
      [id(open)]: 'its mode is 644, not 400',
      [id(owned)]: 'its owner is 1:1, not 0:0',
      [id(emptied)]: 'it is empty',
      [id(replaced)]: 'it is no regular file',
      [join(paths.objects, 'stray')]: 'it is no object',
      [join(paths.objects, 'ff', 'stray')]: 'it is no object',
    });
    expect(problems.every(({ repair }) => repair.length > 0)).toBe(true);
  });

  it('can be interrupted', async () => {
    const { paths } = await storeWith(1);
    const signal = AbortSignal.abort();
    await expect(verifyObjects(paths, { signal })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await expect(verifyTrees(paths, { signal })).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

describe('verifyTrees', () => {
  it('names every broken tree', async () => {
    const { paths, tree, objects } = await storeWith(3);
    const bytes = readFileSync(paths.tree(tree));
    const put = (content: Buffer): string => {
      const digest = createHash('sha256').update(content).digest('hex');
      writeFileSync(paths.tree(digest), content);
      return digest;
    };
    const flipped = Buffer.from(bytes);
    flipped[5000] = 0x55;
    const broken = put(flipped);
    const renamed = '0'.repeat(64);
    writeFileSync(paths.tree(renamed), bytes);
    writeFileSync(paths.tree('stray'), '');
    rmSync(objects[0] ?? '');
    const { checked, problems, lost, withoutSums } = await verifyTrees(paths);
    expect(checked).toBe(3);
    const found = Object.fromEntries(problems.map(({ name, problem }) => [name, problem]));
    expect(found[broken]).toMatch(/CRC of page 1/);
    expect(found[renamed]).toMatch(/not what its name stands for/);
    // The tree itself is as it was; what it lacks is told by object.
    expect(found[tree]).toBeUndefined();
    expect([...lost]).toEqual([[objects[0]?.slice(-33).replace('/', ''), tree]]);
    expect(withoutSums).toEqual([]);
    expect(found[paths.tree('stray')]).toBe('it is no tree');
  });
});
