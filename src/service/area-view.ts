import { closeSync, openSync, readSync, fstatSync } from 'node:fs';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { openPrivateFile } from '../engine/open-private-file.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { isSymlink } from '../store/inode-types.js';
import { formatObjectId, objectPath, parseObjectId, type ObjectId } from '../store/object-id.js';
import { PrivateFiles } from '../store/private-files.js';
import type { RawName } from '../store/raw-names.js';
import { TreeReader } from '../store/tree-reader.js';
import type { Area } from './area-sums.js';
import type { ServiceContext } from './context.js';
import { RootView, modeOf, sizeOf, type RootEntry } from './root-view.js';
import { join } from 'node:path';

/** A private area above its tree, with what it takes to read files of it. Nothing is mounted. */
export class AreaView implements Disposable {
  readonly area: Area;
  readonly records: readonly ScanRecord[];
  readonly root: RootView;
  readonly #context: ServiceContext;
  readonly #tree: TreeReader;

  private constructor(context: ServiceContext, area: Area, records: readonly ScanRecord[]) {
    this.#context = context;
    this.area = area;
    this.records = records;
    this.#tree = TreeReader.open(context.paths.tree(area.tree));
    try {
      this.root = new RootView(this.#tree, records);
    } catch (error) {
      this.#tree.close();
      throw error;
    }
  }

  /** @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED, INTERRUPTED */
  static async open(context: ServiceContext, area: Area): Promise<AreaView> {
    return new AreaView(context, area, await scanPrivateArea(context.paths, area.name, context.signal));
  }

  /** A template's tree alone: the root of a container that changed nothing. @throws BAD_TREE */
  static ofTree(context: ServiceContext, tree: string): AreaView {
    return new AreaView(context, { name: '', tree }, []);
  }

  [Symbol.dispose](): void {
    this.#tree.close();
  }

  /** Follows the symlinks on the way to a path. */
  resolve(path: RawName, last = false): RootEntry | undefined {
    return this.root.resolve(path, (entry) => this.#target(entry), last);
  }

  /** The object that shows an entry's content, wholly or in part. */
  objectOf(entry: RootEntry): ObjectId | undefined {
    if (entry.record !== undefined) return entry.record.object === null ? undefined : parseObjectId(entry.record.object);
    return this.root.tree.object(entry.node);
  }

  objectIdOf(entry: RootEntry): string | null {
    const object = this.objectOf(entry);
    return object === undefined ? null : formatObjectId(object);
  }

  /**
   * The content of a regular file. @returns undefined for one that only its engine can put together (partly its own), or that is gone
   * by now @throws IO_ERROR, FAILED for one of more than `most` bytes
   */
  read(entry: RootEntry, most: number): Buffer | undefined {
    if (sizeOf(entry) === 0) return Buffer.alloc(0);
    const fd = this.openContent(entry);
    if (fd === undefined) return undefined;
    try {
      const { size } = fstatSync(fd);
      if (size > most) throw new TemplatefsError('FAILED', `${entry.path} in ${this.area.name} has ${size} bytes, more than what is read of it`, { hint: 'see what it is' });
      const bytes = Buffer.alloc(size);
      let done = 0;
      for (let got = 1; done < size && got > 0; done += got) got = readSync(fd, bytes, done, size - done, done);
      return bytes.subarray(0, done);
    } finally {
      closeSync(fd);
    }
  }

  /** Opens the file on the host that holds an entry's content. @returns a descriptor, to be closed; undefined as `read` */
  openContent(entry: RootEntry): number | undefined {
    const { record } = entry;
    if (record?.kind === 'partial') return undefined;
    const object = this.objectOf(entry);
    if (object !== undefined) return openSync(objectPath(this.#context.paths, object), 'r');
    if (record?.kind !== 'file') return undefined;
    const { paths } = this.#context;
    // An inode of several names may have none of them in the area, but its number.
    return openPrivateFile(paths, this.area.name, record.path) ?? openPrivateFile(paths, this.area.name, `inode:${record.inode.toString(16).padStart(8, '0')}`);
  }

  #target(entry: RootEntry): RawName | undefined {
    if (!isSymlink(modeOf(entry))) return undefined;
    if (entry.node !== undefined) return this.root.tree.target(entry.node);
    const files = new PrivateFiles();
    try {
      return files.readLink(join(this.#context.paths.privateArea(this.area.name), 'root'), entry.record.path);
    } catch (error) {
      if (errnoOf(error) === 'EINVAL') return undefined;
      throw error;
    } finally {
      files.close();
    }
  }
}
