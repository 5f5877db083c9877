import { join } from 'node:path';
import { fingerprintAll } from '../dedup/fingerprint-candidates.js';
import { isRegular } from '../store/inode-types.js';
import { formatObjectId, objectPath, objectPathIn, parseObjectId } from '../store/object-id.js';
import { printableName } from '../store/raw-names.js';
import type { ScanRecord } from '../engine/scan.js';
import { scanPrivateArea } from '../engine/scan.js';
import { TreeReader } from '../store/tree-reader.js';
import type { FileBelow } from '../store/worker-messages.js';
import { openForReading, type ServiceContext } from './context.js';
import { ReferencesOfStore } from './object-references.js';
import { allocatedBytes } from './stored-bytes.js';

/** Where the space of a store goes. */
export interface TopStatistics {
  readonly largestObjects: readonly TopObject[];
  /** By what they would take once for each container. */
  readonly mostSharedObjects: readonly TopObject[];
  /** Private files that take the most. */
  readonly mostPrivate: readonly TopFile[];
  /** Private files that look equal to one another, or to an object, by their size and their ends: `link` finds out. */
  readonly duplicates: readonly Duplicates[];
}

export interface TopObject {
  readonly object: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** How many containers need it. */
  readonly containers: number;
  /** What it would take more if each of these had it by itself. */
  readonly savedBytes: number;
  /** One of its places, `TEMPLATE:PATH` or `CT:PATH`; null when a snapshot alone has it. */
  readonly where: string | null;
}

export interface TopFile {
  readonly container: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
}

export interface Duplicates {
  readonly sizeBytes: number;
  /** What sharing would give back, if they are equal. */
  readonly wouldSaveBytes: number;
  /** The object that they look like; null: they look like one another. */
  readonly object: string | null;
  readonly files: readonly TopFile[];
}

interface OwnFile extends TopFile {
  readonly record: ScanRecord;
}

/** Smaller ones are not worth a look by a person. */
const LEAST_DUPLICATE_BYTES = 64 * 1024;
/** Files whose ends are read, the largest first. */
const MOST_READ = 4096;

/**
 * The objects and private files that count most. Looks at all private areas and trees, and reads the ends of private files that
 * have the size of another.
 *
 * @throws BAD_TREE, INTEGRITY, ENGINE_FAILED, BAD_CATALOG, INTERRUPTED
 */
export async function topStatistics(context: ServiceContext, most: number): Promise<TopStatistics> {
  const references = await ReferencesOfStore.open(context);
  const { containers, templates } = (() => {
    using opened = openForReading(context);
    return { containers: opened.catalog.containers(), templates: opened.catalog.templates() };
  })();
  const records = new Map<string, readonly ScanRecord[]>();
  for (const name of references.containers) records.set(name, await scanPrivateArea(context.paths, name, context.signal));
  const own = [...records].flatMap(([container, list]) => ownFiles(container, list)).sort((a, b) => b.allocatedBytes - a.allocatedBytes);
  const objects = allObjects(context, references);
  const largest = [...objects].sort((a, b) => b.sizeBytes - a.sizeBytes).slice(0, most);
  const shared = objects.filter(({ savedBytes }) => savedBytes > 0).sort((a, b) => b.savedBytes - a.savedBytes).slice(0, most);
  const trees = [...templates, ...containers].map(({ name, tree }) => ({ name, tree }));
  const where = findPlaces(context, new Set([...largest, ...shared].map(({ object }) => object)), trees, records);
  const placed = (object: Omit<TopObject, 'where'>): TopObject => ({ ...object, where: where.get(object.object) ?? null });
  return {
    largestObjects: largest.map(placed),
    mostSharedObjects: shared.map(placed),
    mostPrivate: own.slice(0, most).map(withoutRecord),
    duplicates: (await findDuplicates(context, own, objects)).slice(0, most),
  };
}

function withoutRecord({ container, path, sizeBytes, allocatedBytes: allocated }: OwnFile): TopFile {
  return { container, path, sizeBytes, allocatedBytes: allocated };
}

function ownFiles(container: string, records: readonly ScanRecord[]): OwnFile[] {
  const seen = new Set<number>();
  return records.flatMap((record) => {
    const { kind, path, inode, mode, sizeBytes, allocatedBytes: allocated } = record;
    if ((kind !== 'file' && kind !== 'partial') || !isRegular(mode) || sizeBytes === 0 || (inode !== 0 && seen.has(inode))) return [];
    seen.add(inode);
    return [{ container, path: printableName(path), sizeBytes, allocatedBytes: allocated, record }];
  });
}

function allObjects({ paths }: ServiceContext, references: ReferencesOfStore): Omit<TopObject, 'where'>[] {
  return [...references.all()].flatMap(([object, { containers, sizeBytes }]) => {
    const id = parseObjectId(object);
    if (id === undefined) return [];
    const allocated = allocatedBytes(objectPath(paths, id));
    return [{ object, sizeBytes: sizeBytes ?? allocated, allocatedBytes: allocated, containers, savedBytes: allocated * Math.max(0, containers - 1) }];
  });
}

/** One place for each of some objects. */
function findPlaces(
  context: ServiceContext,
  wanted: ReadonlySet<string>,
  trees: readonly { readonly name: string; readonly tree: string }[],
  records: ReadonlyMap<string, readonly ScanRecord[]>,
): Map<string, string> {
  const found = new Map<string, string>();
  const looked = new Set<string>();
  for (const { name, tree } of trees) {
    if (looked.has(tree) || found.size === wanted.size) continue;
    looked.add(tree);
    const reader = TreeReader.open(context.paths.tree(tree));
    try {
      for (const [id, path] of placesInTree(reader, wanted)) if (!found.has(id)) found.set(id, `${name}:${printableName(path)}`);
    } finally {
      reader.close();
    }
  }
  for (const [container, list] of records) {
    for (const { object, path } of list) {
      if (object !== null && wanted.has(object) && !found.has(object)) found.set(object, `${container}:${printableName(path)}`);
    }
  }
  return found;
}

function* placesInTree(tree: TreeReader, wanted: ReadonlySet<string>): Generator<readonly [string, string]> {
  const folders = new Map<number, string>([[0, '']]);
  for (let number = 0; number < tree.header.nodeCount; number += 1) {
    const path = folders.get(number);
    if (path === undefined) continue;
    // Folders come before what is in them, in the order of their numbers.
    folders.delete(number);
    for (const { name, child } of tree.entries(tree.node(number))) {
      const type = child.mode & 0o170000;
      if (type === 0o040000) folders.set(child.number, `${path}/${name}`);
      const object = type === 0o100000 ? tree.object(child) : undefined;
      const id = object === undefined ? undefined : formatObjectId(object);
      if (id !== undefined && wanted.has(id)) yield [id, `${path}/${name}`];
    }
  }
}

interface Ends {
  readonly key: string;
  readonly file: OwnFile | undefined;
  readonly object: string | undefined;
}

async function findDuplicates(context: ServiceContext, own: readonly OwnFile[], objects: readonly Omit<TopObject, 'where'>[]): Promise<Duplicates[]> {
  const bySize = new Map<number, OwnFile[]>();
  for (const file of own) {
    if (file.sizeBytes < LEAST_DUPLICATE_BYTES || file.record.kind !== 'file' || file.record.path.includes('/.../')) continue;
    bySize.set(file.sizeBytes, [...(bySize.get(file.sizeBytes) ?? []), file]);
  }
  const objectsBySize = new Map<number, string[]>();
  for (const { object, sizeBytes } of objects) if (bySize.has(sizeBytes)) objectsBySize.set(sizeBytes, [...(objectsBySize.get(sizeBytes) ?? []), object]);
  const worth = [...bySize].filter(([size, files]) => files.length > 1 || objectsBySize.has(size)).sort(([a], [b]) => b - a);
  const { paths, signal } = context;
  const wanted: { sizeBytes: number; file?: OwnFile; object?: string; read: FileBelow }[] = [];
  for (const [sizeBytes, files] of worth) {
    if (wanted.length >= MOST_READ) break;
    for (const file of files) {
      const { container, record } = file;
      wanted.push({ sizeBytes, file, read: { sizeBytes, top: join(paths.privateArea(container), 'root'), path: record.path } });
    }
    for (const object of objectsBySize.get(sizeBytes) ?? []) {
      const id = parseObjectId(object);
      if (id !== undefined) wanted.push({ sizeBytes, object, read: { sizeBytes, top: paths.objects, path: objectPathIn('', id) } });
    }
  }
  const prints = await fingerprintAll(wanted.map(({ read }) => read), 'ends', signal === undefined ? {} : { signal });
  const groups = new Map<string, Ends[]>();
  for (const [index, { sizeBytes, file, object }] of wanted.entries()) {
    const print = prints[index] ?? null;
    if (typeof print !== 'string') continue;
    const key = `${sizeBytes} ${print}`;
    groups.set(key, [...(groups.get(key) ?? []), { key, file, object }]);
  }
  return [...groups.values()].flatMap(duplicatesOf).sort((a, b) => b.wouldSaveBytes - a.wouldSaveBytes);
}

function duplicatesOf(group: readonly Ends[]): Duplicates[] {
  const files = group.flatMap(({ file }) => (file === undefined ? [] : [file]));
  const object = group.find((one) => one.object !== undefined)?.object ?? null;
  const spare = object === null ? files.slice(1) : files;
  const [first] = files;
  if (first === undefined || spare.length === 0) return [];
  return [{
    sizeBytes: first.sizeBytes,
    wouldSaveBytes: spare.reduce((sum, { allocatedBytes: bytes }) => sum + bytes, 0),
    object,
    files: files.map(withoutRecord),
  }];
}
