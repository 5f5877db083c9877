import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { importTar } from '../../../src/store/import-tar.js';
import { END, header } from './tar-builder.js';
import { temporaryStore } from './temporary-store.js';

const MIB = 2 ** 20;

/** One file of 600 MiB and many of 100 kB, made as they are read. */
function* archive(): Generator<Buffer> {
  const block = Buffer.alloc(64 * 1024);
  for (let i = 0; i < block.length; i += 4) block.writeUInt32LE((Math.imul(i, 2_654_435_761) ^ (i >>> 3)) >>> 0, i);
  yield header({ name: 'large', size: 600 * MIB });
  for (let i = 0; i < (600 * MIB) / block.length; i += 1) {
    const copy = Buffer.from(block);
    copy.writeUInt32LE(i, 0);
    yield copy;
  }
  for (let i = 0; i < 1000; i += 1) {
    const copy = Buffer.alloc(196 * 512, i);
    copy.writeUInt32LE(i, 0);
    yield header({ name: `small-${i}`, size: copy.length });
    yield copy;
  }
  yield END;
}

it('memory does not grow with the size of the archive', async () => {
  const paths = temporaryStore();
  // The threads and their buffers are there before anything is measured.
  await importTar(temporaryStore(), Readable.from([header({ name: 'a' })]));
  const before = process.memoryUsage().rss;
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
  let reports = 0;
  const result = await importTar(paths, Readable.from(archive(), { highWaterMark: 1 }), { onProgress: () => (reports += 1) });
  clearInterval(watch);
  expect(result).toMatchObject({ files: 1001, bytes: 600 * MIB + 1000 * 196 * 512, newObjects: 1001 });
  expect(most - before).toBeLessThan(200 * MIB);
  expect(reports).toBeGreaterThan(1);
}, 60_000);
