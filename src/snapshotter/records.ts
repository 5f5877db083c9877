import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { formatContainerdFile, readContainerdFile, type ContainerdFile } from '../catalog/containerd-file.js';
import type { StorePaths } from '../core/store-paths.js';
import { namesIn } from '../store/folder-names.js';
import { makeFolder, removeFileDurably, writeFileDurably } from '../store/write-file-durably.js';

/**
 * The snapshots that containerd lists: files of the store, all of them in memory too. One process at a time has them. A change is durable
 * when its call returns, and is one rename or unlink: before it the old state holds, after it the new one.
 */
export class ContainerdRecords {
  readonly #paths: StorePaths;
  readonly #byKey = new Map<string, ContainerdFile>();
  /** How many have this parent. */
  readonly #children = new Map<string, number>();
  #lastId: number;

  /** @param usedIds ids that containers and templates have, whether listed or not @throws INTEGRITY naming a record that cannot be read */
  constructor(paths: StorePaths, usedIds: readonly number[]) {
    this.#paths = paths;
    this.#lastId = Math.max(0, ...usedIds);
    makeFolder(paths.containerdRecords);
    for (const name of namesIn(paths.containerdRecords)) {
      if (!/^[1-9]\d{0,14}$/.test(name)) {
        // What a killed snapshotter was writing.
        if (name.includes('.tmp-')) rmSync(join(paths.containerdRecords, name), { force: true });
        continue;
      }
      const id = Number(name);
      const record = readContainerdFile(paths.containerdRecord(id), id);
      if (record === undefined) continue;
      this.#lastId = Math.max(this.#lastId, id);
      this.#index(record);
    }
  }

  get(key: string): ContainerdFile | undefined {
    return this.#byKey.get(key);
  }

  all(): IterableIterator<ContainerdFile> {
    return this.#byKey.values();
  }

  hasChildren(key: string): boolean {
    return (this.#children.get(key) ?? 0) > 0;
  }

  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** Adds a record, or replaces the one of this id, which may have had another key. @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR */
  put(record: ContainerdFile, before?: ContainerdFile): void {
    writeFileDurably(this.#paths.containerdRecord(record.id), formatContainerdFile(record));
    if (before !== undefined) this.#forget(before);
    this.#index(record);
  }

  /** @throws STORE_NOT_WRITABLE, IO_ERROR */
  remove(record: ContainerdFile): void {
    removeFileDurably(this.#paths.containerdRecord(record.id));
    this.#forget(record);
  }

  #index(record: ContainerdFile): void {
    this.#byKey.set(record.key, record);
    if (record.parent !== '') this.#children.set(record.parent, (this.#children.get(record.parent) ?? 0) + 1);
  }

  #forget({ key, parent }: ContainerdFile): void {
    this.#byKey.delete(key);
    const left = (this.#children.get(parent) ?? 0) - 1;
    if (left > 0) this.#children.set(parent, left);
    else this.#children.delete(parent);
  }
}
