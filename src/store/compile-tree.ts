import { closeSync, openSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import type { AreaInode, AreaStreamReader } from './area-stream.js';
import { readFully } from './compare-content.js';
import { SUM_BYTES, expectedContents, isKnownSum, readSums, writeSums } from './content-sums.js';
import { Hierarchy, type NodeIndex } from './hierarchy.js';
import { isFolder, isRegular, isSymlink } from './inode-types.js';
import { SMALL_FILE_BYTES, type ObjectBatch, type Ticket } from './object-batch.js';
import { formatObjectId, objectPath, type ObjectReference } from './object-id.js';
import type { TreeReader } from './tree-reader.js';
import type { ImportResult } from './finish-import.js';
import { writeTree } from './write-tree.js';

/*
 * A base tree and a private area become one tree: docs/snapshots.md. What the area says of the tree is in docs/formats/private-area.md: a
 * folder with an origin is that tree folder, moved perhaps; a file with one is that tree file, changed; all other entries are
 * new; a whiteout takes the tree's name away. No content that is an object is read.
 */

const PAGE_BYTES = 4096;
const BLOCKS_PER_PAGE = 8;
const PIECE_BYTES = 1 << 20;

/** What of a private area is on its way into a tree. */
export class CompiledTree {
  readonly #paths: StorePaths;
  readonly #base: TreeReader;
  readonly #batch: ObjectBatch;
  readonly #hierarchy: Hierarchy;
  readonly #objects = new Map<string, number>();
  /** Nodes whose content is in the batch. */
  readonly #tickets: { readonly node: NodeIndex; readonly ticket: Ticket; readonly size: number; readonly blocks: number }[] = [];
  /** Inodes of several names, by their number. */
  readonly #indexed = new Map<number, NodeIndex>();

  /** @throws BAD_TREE */
  constructor(paths: StorePaths, base: TreeReader, batch: ObjectBatch) {
    this.#paths = paths;
    this.#base = base;
    this.#batch = batch;
    this.#hierarchy = this.#load();
  }

  /** Adds what a private area changes. @throws INTEGRITY, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR */
  async apply(area: AreaStreamReader, signal?: AbortSignal): Promise<void> {
    const way: NodeIndex[] = [];
    for (let record = await area.next(); record.kind !== 'end'; record = await area.next()) {
      signal?.throwIfAborted();
      const folder = way.at(-1);
      if (record.kind === 'indexed') {
        const { node } = record.inode;
        if (node === undefined) throw broken('an inode of inodes/ has no number');
        this.#indexed.set(node.inode, await this.#place(record.inode, area));
      } else if (record.kind === 'entry' && folder === undefined) {
        // Before its first change the root folder is the tree's.
        if (record.inode.node !== undefined) this.#dress(this.#hierarchy.root, record.inode);
        way.push(this.#hierarchy.root);
      } else if (folder === undefined) {
        throw broken('it has entries outside of its root');
      } else if (record.kind === 'entry') {
        const node = await this.#place(record.inode, area);
        this.#hierarchy.setChild(folder, record.name, node);
        if (isFolder(record.inode.metadata.mode)) way.push(node);
      } else if (record.kind === 'link') {
        const node = this.#indexed.get(record.number);
        if (node === undefined) throw broken(`a name of inode ${record.number}, which is not there`);
        this.#hierarchy.setChild(folder, record.name, node);
      } else if (record.kind === 'whiteout') {
        this.#hierarchy.removeChild(folder, record.name);
      } else {
        way.pop();
      }
    }
  }

  /** Makes new contents objects and writes the tree; both are durable then. @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR */
  async finish(): Promise<ImportResult> {
    const committed = await this.#batch.commit();
    for (const { node, ticket, size, blocks } of this.#tickets) {
      const object = committed.objects[committed.objectOf[ticket] ?? -1];
      if (object === undefined) throw new Error('a content was not committed');
      this.#hierarchy.setContent(node, this.#objectIndex(object), size, blocks);
    }
    const tree = writeTree(this.#paths, this.#hierarchy);
    const sums = new Map<string, Buffer>();
    for (const [index, object] of committed.objects.entries()) sums.set(formatObjectId(object), committed.sums.get(index));
    this.#writeSums(tree.digest, sums);
    const { newObjects, newBytes } = committed;
    return {
      tree: tree.digest, files: tree.regularCount, entries: tree.entryCount, bytes: tree.contentBytes, newObjects, newBytes,
      sharedObjects: this.#hierarchy.objects.length - newObjects,
    };
  }

  /** The base tree, node by node; each keeps its number, so that the area's origins are found. */
  #load(): Hierarchy {
    const base = this.#base;
    const hierarchy = new Hierarchy();
    for (const object of base.objects()) {
      this.#objects.set(formatObjectId(object), hierarchy.objects.length);
      hierarchy.objects.push(object);
    }
    for (let number = 0; number < base.header.nodeCount; number++) {
      const node = base.node(number);
      const metadata = {
        mode: node.mode, uid: node.uid, gid: node.gid, rdev: node.rdev,
        mtimeSeconds: Number(node.mtimeSeconds), mtimeNanoseconds: node.mtimeNanoseconds,
      };
      if (number === 0) hierarchy.setMetadata(0, metadata);
      else hierarchy.addNode(metadata);
      if (isRegular(node.mode)) hierarchy.setContent(number, base.object(node) === undefined ? undefined : node.data, node.size, node.blocks);
      else if (isSymlink(node.mode)) hierarchy.setTarget(number, base.target(node));
      hierarchy.setXattrs(number, base.xattrs(node));
    }
    for (let number = 0; number < base.header.nodeCount; number++) {
      const node = base.node(number);
      if (!isFolder(node.mode)) continue;
      for (const { name, child } of base.entries(node)) hierarchy.setChild(number, name, child.number);
    }
    return hierarchy;
  }

  /** The node of an inode of the area: the base's, where it is that one. */
  async #place(inode: AreaInode, area: AreaStreamReader): Promise<NodeIndex> {
    const origin = inode.node?.origin;
    const { mode } = inode.metadata;
    if (origin !== undefined && (origin >= this.#base.header.nodeCount || isFolder(this.#base.node(origin).mode) !== isFolder(mode))) {
      throw broken(`an entry comes from node ${origin} of its tree, which is not like it`);
    }
    const node = origin ?? this.#hierarchy.addNode(inode.metadata);
    this.#dress(node, inode);
    if (isRegular(mode)) await this.#addContent(node, inode, area);
    return node;
  }

  #dress(node: NodeIndex, { metadata, xattrs, target }: AreaInode): void {
    this.#hierarchy.setMetadata(node, metadata);
    this.#hierarchy.setXattrs(node, xattrs);
    if (isSymlink(metadata.mode)) this.#hierarchy.setTarget(node, target);
  }

  #objectIndex(object: ObjectReference): number {
    const id = formatObjectId(object);
    const known = this.#objects.get(id);
    if (known !== undefined) return known;
    const index = this.#hierarchy.objects.push(object) - 1;
    this.#objects.set(id, index);
    return index;
  }

  async #addContent(node: NodeIndex, inode: AreaInode, area: AreaStreamReader): Promise<void> {
    const { size } = inode;
    const object = inode.node?.object;
    if (size === 0) {
      this.#hierarchy.setContent(node, undefined, 0, 0);
      return;
    }
    if (inode.node?.kind === 'link' && object !== undefined) {
      if (object.bytes !== size) throw broken('a link is not as long as its object');
      const index = this.#objectIndex({ hash: object.hash, variant: object.variant, size });
      // The base knows of its holes.
      const isBase = inode.node.origin !== undefined && this.#hierarchy.object(node) === index;
      this.#hierarchy.setContent(node, index, size, isBase ? this.#hierarchy.blocks(node) : pages(size) * BLOCKS_PER_PAGE);
      return;
    }
    const shown = object === undefined ? undefined : openSync(objectPath(this.#paths, object), 'r');
    try {
      await this.#addOwn(node, size, { area, shown, shownBytes: Math.min(object?.bytes ?? 0, size) });
    } finally {
      if (shown !== undefined) closeSync(shown);
    }
  }

  /** Content of the area, with what shows of an object between. */
  async #addOwn(node: NodeIndex, size: number, from: { area: AreaStreamReader; shown: number | undefined; shownBytes: number }): Promise<void> {
    const { area, shown, shownBytes } = from;
    let data = await area.data();
    if (size <= SMALL_FILE_BYTES) {
      const content = Buffer.alloc(size);
      if (shown !== undefined) readFully(shown, content.subarray(0, shownBytes), 0);
      for (; data !== undefined; data = await area.data()) {
        if (data.offset + data.length > size) throw broken('content behind the end of its file');
        await area.fill(content.subarray(data.offset, data.offset + data.length));
      }
      const ticket = await this.#batch.addSmall(size, (target) => void content.copy(target));
      this.#tickets.push({ node, ticket, size, blocks: pages(size) * BLOCKS_PER_PAGE });
      return;
    }
    const stream = this.#batch.openStream();
    let at = 0;
    let dataPages = 0;
    const fillTo = async (end: number): Promise<void> => {
      while (at < Math.min(end, shownBytes) && shown !== undefined) {
        const length = Math.min(PIECE_BYTES, Math.min(end, shownBytes) - at);
        const piece = Buffer.alloc(length);
        if (readFully(shown, piece, at) !== length) throw broken('an object is shorter than what a file shows of it');
        let done = 0;
        await stream.data(length, (target) => {
          piece.copy(target, 0, done, done + target.length);
          done += target.length;
        });
        dataPages += pages(length);
        at += length;
      }
      if (at < end) await stream.hole(end - at);
      at = end;
    };
    for (; data !== undefined; data = await area.data()) {
      if (data.offset < at || data.offset + data.length > size) throw broken('content out of its order');
      await fillTo(data.offset);
      await stream.data(data.length, (target) => area.fill(target));
      dataPages += pages(data.length);
      at += data.length;
    }
    await fillTo(size);
    this.#tickets.push({ node, ticket: stream.end(), size, blocks: dataPages * BLOCKS_PER_PAGE });
  }

  /** What is known of the base's objects, of those of links, and of new ones. */
  #writeSums(digest: string, sums: Map<string, Buffer>): void {
    const ofBase = readSums(this.#paths, this.#baseDigest());
    if (Buffer.isBuffer(ofBase)) {
      let index = 0;
      for (const object of this.#base.objects()) {
        const sum = ofBase.subarray(index * SUM_BYTES, (index + 1) * SUM_BYTES);
        if (sum.length === SUM_BYTES && isKnownSum(sum)) sums.set(formatObjectId(object), sum);
        index += 1;
      }
    }
    const unknown = new Set(this.#hierarchy.objects.map(formatObjectId).filter((id) => !sums.has(id)));
    for (const [id, { sum }] of expectedContents(this.#paths, unknown)) if (sum !== undefined) sums.set(id, sum);
    writeSums(this.#paths, digest, (object) => sums.get(formatObjectId(object)) ?? Buffer.alloc(SUM_BYTES));
  }

  #baseDigest(): string {
    return this.#base.file.slice(this.#base.file.lastIndexOf('/') + 1);
  }
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES);
}

function broken(why: string): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `the private area cannot be compiled: ${why}`, { hint: 'run `templatefs verify` to see what is broken' });
}
