import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dumpTree } from '../../../src/store/tree-dump.js';
import { HEADER_FIELDS, HEADER_SIZE, PAGE_SIZE } from '../../../src/store/tree-format.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { verifyTree } from '../../../src/store/tree-verify.js';
import { temporaryFolder } from '../store/temporary-store.js';
import { changed, changes, orRefused, PROPERTY_TIMEOUT_MS, runs } from './property.js';

const GOLDEN = fileURLToPath(new URL('../../golden/trees/', import.meta.url));
const IMAGES = readdirSync(GOLDEN).filter((name) => name.endsWith('.tree') && name !== 'wide.tree').map((name) => readFileSync(join(GOLDEN, name)));
/** A walk of a broken image may meet a folder again and again; each line costs the same. */
const MOST_LINES = 5000;

/** Makes the checks right, as far as there is room for them: what stands behind them is to be reached. */
function seal(bytes: Buffer): void {
  if (bytes.length < HEADER_SIZE) return;
  bytes.writeBigUInt64LE(BigInt(bytes.length), HEADER_FIELDS.fileSize);
  bytes.writeUInt32LE(0, HEADER_FIELDS.crc);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, HEADER_SIZE)), HEADER_FIELDS.crc);
  const checks = Number(bytes.readBigUInt64LE(HEADER_FIELDS.checksOffset));
  for (let page = 1; page * PAGE_SIZE < checks && checks + page * 4 + 4 <= bytes.length; page += 1) {
    bytes.writeUInt32LE(crc32(bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)), checks + page * 4);
  }
}

/** Overwrites only: an image of another length is refused by its header. */
const overwrites = fc.array(fc.tuple(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ minLength: 1, maxLength: 8 })), { minLength: 1, maxLength: 4 });

describe('tree images', () => {
  test('changed anywhere are read or refused by name, and the walk ends', { timeout: PROPERTY_TIMEOUT_MS }, () => {
    const file = join(temporaryFolder(), 'image');
    fc.assert(
      fc.property(fc.constantFrom(...IMAGES), fc.oneof(overwrites, overwrites, changes), fc.boolean(), (image, change, isSealed) => {
        const bytes = changed(image, change);
        if (isSealed) seal(bytes);
        writeFileSync(file, bytes);
        orRefused(['BAD_TREE'], () => {
          const tree = TreeReader.open(file);
          try {
            let lines = 0;
            for (const line of dumpTree(tree)) {
              expect(line.split(' ')[0]?.split('/')).not.toContain('..');
              if (++lines > MOST_LINES) break;
            }
          } finally {
            tree.close();
          }
        });
        orRefused(['BAD_TREE'], () => {
          verifyTree(file);
        });
      }),
      runs(250),
    );
  });

  test('that verify takes are those that can be read whole', { timeout: PROPERTY_TIMEOUT_MS }, () => {
    const file = join(temporaryFolder(), 'image');
    let taken = 0;
    fc.assert(
      fc.property(fc.constantFrom(...IMAGES), overwrites, (image, change) => {
        const bytes = changed(image, change);
        seal(bytes);
        writeFileSync(file, bytes);
        const isGood = orRefused(['BAD_TREE'], () => {
          verifyTree(file);
          return true;
        });
        if (isGood !== true) return;
        taken += 1;
        const tree = TreeReader.open(file);
        try {
          expect([...dumpTree(tree)].length).toBeGreaterThan(0);
        } finally {
          tree.close();
        }
      }),
      // One that verify takes for sure, or only luck would say that the rest was not all refused.
      { ...runs(250), examples: IMAGES.map((image): [(typeof IMAGES)[number], []] => [image, []]) },
    );
    expect(taken).toBeGreaterThan(0);
  });
});
