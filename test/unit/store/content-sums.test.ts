import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { SUM_BYTES, SumList, expectedContents, readSums } from '../../../src/store/content-sums.js';
import { importTar } from '../../../src/store/import-tar.js';
import { formatObjectId, objectPath } from '../../../src/store/object-id.js';
import { ScrubPace } from '../../../src/store/scrub-pace.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { archive, member } from './tar-builder.js';
import { temporaryStore } from './temporary-store.js';

it('every content of a tree has its SHA-256 beside it, whichever way it came', async () => {
  const paths = temporaryStore();
  // Small ones go in batches, large ones as streams, equal ones once, and some are in the store already.
  const parts = Array.from({ length: 40 }, (_, i) => member({ name: `f${i}` }, Buffer.alloc(i % 3 === 0 ? 300_000 : 10, i % 20)));
  await importTar(paths, Readable.from([archive(...parts.slice(0, 10))]));
  const { tree } = await importTar(paths, Readable.from([archive(...parts)]));
  const reader = TreeReader.open(paths.tree(tree));
  const objects = [...reader.objects()];
  reader.close();
  const sums = readSums(paths, tree);
  if (!Buffer.isBuffer(sums)) throw new Error('no sums');
  expect(sums.length).toBe(objects.length * SUM_BYTES);
  for (const [index, object] of objects.entries()) {
    const wanted = createHash('sha256').update(readFileSync(objectPath(paths, object))).digest('hex');
    expect(sums.subarray(index * SUM_BYTES, (index + 1) * SUM_BYTES).toString('hex')).toBe(wanted);
    const name = formatObjectId(object);
    expect(expectedContents(paths, new Set([name])).get(name)).toMatchObject({ size: object.size, sum: Buffer.from(wanted, 'hex') });
  }
  expect(expectedContents(paths, new Set(['0'.repeat(32)])).size).toBe(0);
});

it('a file of sums that was changed or cut short is broken, none is none', async () => {
  const paths = temporaryStore();
  const { tree } = await importTar(paths, Readable.from([archive(member({ name: 'f' }, 'content'))]));
  const whole = readFileSync(paths.sumsOf(tree));
  for (let at = 0; at < whole.length; at += 7) {
    const bytes = Buffer.from(whole);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    writeFileSync(paths.sumsOf(tree), bytes);
    expect(readSums(paths, tree), `byte ${at}`).toBe('broken');
    writeFileSync(paths.sumsOf(tree), whole.subarray(0, at));
    expect(readSums(paths, tree), `${at} bytes`).toBe('broken');
  }
  expect(readSums(paths, 'f'.repeat(64))).toBeUndefined();
});

it('a list of sums has zeros where nothing was set', () => {
  const list = new SumList();
  list.set(5000, Buffer.alloc(SUM_BYTES, 7));
  expect([list.get(5000)[0], list.get(4999)[0], list.get(1_000_000)[0]]).toEqual([7, 0, 0]);
});

it('a pace counts bytes of all threads, and ends a wait that has begun', () => {
  const pace = new ScrubPace(0);
  const other = new ScrubPace(1, pace.memory);
  expect(pace.take(100)).toBe(true);
  pace.stop();
  // A byte a second: it would wait for days.
  expect(other.take(1_000_000)).toBe(false);
  expect(pace.bytesRead).toBe(1_000_100);
  expect(pace.take(1)).toBe(false);
});
