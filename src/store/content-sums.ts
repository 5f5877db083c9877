import { createHash } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { syncFolder } from './write-file-durably.js';
import { namesIn } from './folder-names.js';
import { makeFolders } from './make-folders.js';
import { formatObjectId, type ObjectReference } from './object-id.js';
import { ensureStaging, stagingPath } from './staging.js';
import { TreeReader } from './tree-reader.js';

/*
 * An object's name is a fingerprint, which a hostile container could forge. So that a lost content can be taken back from
 * anywhere, the SHA-256 of each content of a tree is written down beside it when the tree is made:
 * docs/formats/content-sums.md, docs/decisions/0004-where-repairs-come-from.md.
 */

/** Bytes of one sum; all zero where it is not known. */
export const SUM_BYTES = 32;
const MAGIC = Buffer.from('TFSSUMS\n', 'latin1');
const VERSION = 1;
const HEADER_BYTES = 16;

export function isKnownSum(sum: Uint8Array): boolean {
  return sum.some((byte) => byte !== 0);
}

/** A list of sums that grows; one number for each content of an import. */
export class SumList {
  #bytes = Buffer.alloc(1024 * SUM_BYTES);

  set(index: number, sum: Uint8Array): void {
    const end = (index + 1) * SUM_BYTES;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    this.#bytes.set(sum, index * SUM_BYTES);
  }

  get(index: number): Buffer {
    const end = (index + 1) * SUM_BYTES;
    return end > this.#bytes.length ? Buffer.alloc(SUM_BYTES) : this.#bytes.subarray(index * SUM_BYTES, end);
  }
}

/**
 * Writes the sums of a tree durably; what is there is replaced. `sumOf` is asked for each object of the tree.
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, BAD_TREE
 */
export function writeSums(paths: StorePaths, digest: string, sumOf: (object: ObjectReference) => Uint8Array): void {
  const staged = stagingPath(paths, 'sums');
  try {
    ensureStaging(paths);
    makeFolders(paths.sums);
    const fd = openSync(staged, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
    try {
      for (const block of encode(paths.tree(digest), sumOf)) {
        for (let done = 0; done < block.length; ) done += writeSync(fd, block, done);
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(staged, paths.sumsOf(digest));
    syncFolder(paths.sums);
  } catch (error) {
    rmSync(staged, { force: true });
    throw storeWriteError(error, paths.sumsOf(digest));
  }
}

function* encode(treeFile: string, sumOf: (object: ObjectReference) => Uint8Array): Generator<Buffer> {
  const tree = TreeReader.open(treeFile);
  try {
    const hash = createHash('sha256');
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(VERSION, 8);
    header.writeUInt32LE(tree.header.objectCount, 12);
    let pieces: Uint8Array[] = [header];
    const flush = (): Buffer => {
      const block = Buffer.concat(pieces);
      pieces = [];
      hash.update(block);
      return block;
    };
    for (const object of tree.objects()) {
      pieces.push(sumOf(object));
      if (pieces.length === 4096) yield flush();
    }
    yield flush();
    yield hash.digest();
  } finally {
    tree.close();
  }
}

/** The sums of a tree in the order of its objects: undefined without a file, `broken` for one that is not as it was written. */
export function readSums(paths: StorePaths, digest: string): Buffer | 'broken' | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(paths.sumsOf(digest));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    return 'broken';
  }
  const end = bytes.length - SUM_BYTES;
  if (end < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt32LE(8) !== VERSION) return 'broken';
  if (end !== HEADER_BYTES + bytes.readUInt32LE(12) * SUM_BYTES) return 'broken';
  if (!createHash('sha256').update(bytes.subarray(0, end)).digest().equals(bytes.subarray(end))) return 'broken';
  return bytes.subarray(HEADER_BYTES, end);
}

/** What the store knows of a content that it may have lost. */
export interface ExpectedContent {
  /** undefined: no tree says. */
  readonly size: number | undefined;
  /** undefined: no tree with sums names it. */
  readonly sum: Buffer | undefined;
}

/**
 * What the trees say of some objects, by id; an object that no tree names is left out. Trees that cannot be read are
 * passed over. Costs a walk over all trees' object tables.
 */
export function expectedContents(paths: StorePaths, wanted: ReadonlySet<string>): Map<string, ExpectedContent> {
  const found = new Map<string, ExpectedContent>();
  if (wanted.size === 0) return found;
  for (const digest of treeDigests(paths)) {
    let tree: TreeReader;
    try {
      tree = TreeReader.open(paths.tree(digest));
    } catch {
      continue;
    }
    try {
      let sums: Buffer | 'broken' | undefined | null = null;
      let index = 0;
      for (const object of tree.objects()) {
        const id = formatObjectId(object);
        if (wanted.has(id) && found.get(id)?.sum === undefined) {
          if (sums === null) sums = readSums(paths, digest);
          const sum = Buffer.isBuffer(sums) && sums.length === tree.header.objectCount * SUM_BYTES ? sums.subarray(index * SUM_BYTES, (index + 1) * SUM_BYTES) : undefined;
          found.set(id, { size: object.size, sum: sum !== undefined && isKnownSum(sum) ? Buffer.from(sum) : undefined });
        }
        index += 1;
      }
    } catch {
      // A broken page: what was read so far counts.
    } finally {
      tree.close();
    }
  }
  return found;
}

/** The digests of all trees of a store, sorted. */
export function treeDigests(paths: StorePaths): string[] {
  return namesIn(paths.trees).filter((name) => /^[0-9a-f]{64}$/.test(name)).sort();
}
