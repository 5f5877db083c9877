import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { namesIn } from '../store/folder-names.js';
import { TreeReader } from '../store/tree-reader.js';
import { makeFolder, replaceFile } from '../store/write-file-durably.js';
import { stateKey, type AreaState } from './area-state.js';
import type { ServiceContext } from './context.js';
import { privateSums } from './private-sums.js';
import { PrivateView } from './private-view.js';

/*
 * What one private area takes and shows, kept until it changes: docs/formats/area-sums.md. So statistics of a fleet in which nothing
 * changed look at no private area, and those of one that did look at that one. Never at a template.
 */

/** Sums over one private area and its tree, in bytes. */
export interface AreaSums {
  /** Content that the root shows, each inode once. */
  readonly logicalBytes: number;
  /** Of that what comes from the tree as it is. */
  readonly templateBytes: number;
  /** Of that what links and partial files share. */
  readonly linkedBytes: number;
  /** Of that the area's own. */
  readonly ownBytes: number;
  /** Allocated on the disk. */
  readonly privateBytes: number;
  readonly privateFiles: number;
  readonly links: number;
  /** ISO 8601. */
  readonly counted: string;
}

/** A container's area, or with `CT@ID` a snapshot's. */
export interface Area {
  readonly name: string;
  /** Digest of its tree. */
  readonly tree: string;
}

/** Sums, and which objects links show. */
export interface CountedArea {
  readonly sums: AreaSums;
  /** Ids of objects that its entries name, each once, sorted. */
  readonly objects: readonly string[];
}

/** A file that had all of its content, and is a link now. */
export interface NewLink {
  readonly object: string;
  readonly sizeBytes: number;
  readonly freedBytes: number;
}

const VERSION = 1;
/** Files that are open may grow without a word: sums of such an area hold so long. */
const OPEN_FILES_MS = 60_000;
/** Up to a block is that of xattrs: a link with more keeps content that goes when it is closed, without a word. */
const BLOCK_BYTES = 4096;

interface StoredSums extends AreaSums {
  readonly version: number;
  readonly key: string;
}

/** Counts one area anew. */
export function sumArea(tree: TreeReader, records: readonly ScanRecord[]): CountedArea {
  const view = new PrivateView(tree, records);
  const sums = privateSums(records);
  const shown = privateSums(records.filter(({ path }) => path.startsWith('/')));
  const logicalBytes = view.logicalBytes();
  return {
    sums: {
      logicalBytes,
      templateBytes: Math.max(0, logicalBytes - shown.linkedBytes - shown.ownBytes),
      linkedBytes: sums.linkedBytes,
      ownBytes: shown.ownBytes,
      privateBytes: sums.allocatedBytes,
      privateFiles: sums.files,
      links: sums.links,
      counted: new Date().toISOString(),
    },
    objects: [...new Set(records.flatMap(({ object }) => (object === null ? [] : [object])))].sort(),
  };
}

/** Looks at every entry of an area. @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED, INTERRUPTED */
export async function countArea({ paths, signal }: ServiceContext, area: Area): Promise<CountedArea & { readonly mayShrink: boolean }> {
  const records = await scanPrivateArea(paths, area.name, signal);
  const tree = TreeReader.open(paths.tree(area.tree));
  try {
    return { ...sumArea(tree, records), mayShrink: records.some(({ kind, allocatedBytes }) => kind === 'link' && allocatedBytes > BLOCK_BYTES) };
  } finally {
    tree.close();
  }
}

/** Sums of areas, as they were kept or as they are counted now. One for each run of a command. */
export class SumsOfAreas {
  readonly #context: ServiceContext;
  /** Counted by this run. */
  readonly #counted = new Map<string, CountedArea>();

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** What was kept and still holds. */
  kept(area: Area, state: AreaState): AreaSums | undefined {
    if (state.token === null) return undefined;
    const stored = this.#read(area.name);
    if (stored === undefined || stored.key !== stateKey(state.token, area.tree)) return undefined;
    const ageMs = Date.now() - Date.parse(stored.counted);
    if (state.hasOpenFiles && !(ageMs >= 0 && ageMs < OPEN_FILES_MS)) return undefined;
    return sumsOf(stored);
  }

  /** Sums of an area; its entries are looked at only when it has changed. @throws as {@link countArea} */
  async of(area: Area, state: AreaState): Promise<AreaSums> {
    return this.kept(area, state) ?? (await this.count(area, state)).sums;
  }

  /** The objects that its links show. @param state as it was when its sums were asked for */
  async objectsOf(area: Area, state: AreaState): Promise<readonly string[]> {
    const before = this.#counted.get(area.name);
    if (before !== undefined) return before.objects;
    if (this.kept(area, state) !== undefined && state.token !== null) {
      const objects = this.#readObjects(area.name, stateKey(state.token, area.tree));
      if (objects !== undefined) return objects;
    }
    return (await this.count(area, state)).objects;
  }

  /** Looks at all entries and keeps the result. @param state as it was before */
  async count(area: Area, state: AreaState): Promise<CountedArea> {
    const counted = await countArea(this.#context, area);
    this.#counted.set(area.name, counted);
    if (state.token === null || counted.mayShrink) this.forget(area.name);
    else this.#write(area.name, stateKey(state.token, area.tree), counted);
    return counted;
  }

  /**
   * Keeps sums of an area that was counted before files of it became links, which its engine does not count as a change.
   * @param state as it was before it was counted
   */
  keepAfterMerging(area: Area, state: AreaState, { sums, objects }: CountedArea, links: readonly NewLink[]): void {
    if (state.token === null) return;
    const sizeBytes = links.reduce((sum, link) => sum + link.sizeBytes, 0);
    const freedBytes = links.reduce((sum, link) => sum + link.freedBytes, 0);
    const merged: AreaSums = {
      ...sums,
      linkedBytes: sums.linkedBytes + sizeBytes,
      ownBytes: sums.ownBytes - sizeBytes,
      privateBytes: sums.privateBytes - freedBytes,
      privateFiles: sums.privateFiles - links.length,
      links: sums.links + links.length,
    };
    const counted: CountedArea = { sums: merged, objects: [...new Set([...objects, ...links.map(({ object }) => object)])].sort() };
    this.#write(area.name, stateKey(state.token, area.tree), counted);
  }

  /** Forgets areas that are no more. */
  retain(names: ReadonlySet<string>): void {
    for (const name of namesIn(this.#context.paths.areaSums)) if (!names.has(name)) this.forget(name);
  }

  #read(name: string): StoredSums | undefined {
    try {
      const stored = JSON.parse(readFileSync(join(this.#context.paths.areaSums, name), 'utf8')) as StoredSums;
      return stored.version === VERSION ? stored : undefined;
    } catch (error) {
      refuseUnreadable(error);
      return undefined;
    }
  }

  #readObjects(name: string, key: string): string[] | undefined {
    try {
      const [first, count, ...objects] = readFileSync(join(this.#context.paths.areaObjects, name), 'utf8').split('\n');
      return first === key && Number(count) === objects.length ? objects : undefined;
    } catch (error) {
      refuseUnreadable(error);
      return undefined;
    }
  }

  #write(name: string, key: string, { sums, objects }: CountedArea): void {
    const { areaSums, areaObjects } = this.#context.paths;
    const stored: StoredSums = { version: VERSION, key, ...sums };
    try {
      makeFolder(areaSums);
      makeFolder(areaObjects);
      // After a power loss it may be a broken one, which counts for none.
      replaceFile(join(areaObjects, name), [key, objects.length, ...objects].join('\n'));
      replaceFile(join(areaSums, name), JSON.stringify(stored));
    } catch {
      // A store that cannot be written to: the next command counts again.
    }
  }

  /** To be called when an area has changed in a way that its engine does not tell of. */
  forget(name: string): void {
    try {
      for (const folder of [this.#context.paths.areaSums, this.#context.paths.areaObjects]) rmSync(join(folder, name), { force: true });
    } catch {
      // Its key does not hold any more.
    }
  }
}

function sumsOf({ logicalBytes, templateBytes, linkedBytes, ownBytes, privateBytes, privateFiles, links, counted }: AreaSums): AreaSums {
  return { logicalBytes, templateBytes, linkedBytes, ownBytes, privateBytes, privateFiles, links, counted };
}

/** What cannot be read or understood is as good as nothing. */
function refuseUnreadable(error: unknown): void {
  const errno = errnoOf(error);
  if (errno === undefined || errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'EACCES') return;
  throw new TemplatefsError('IO_ERROR', `cannot read what was counted before: ${errno}`, { hint: 'remove the folder cache/area-sums of the store', cause: error });
}
