import { createHash } from 'node:crypto';
import { describe, FIRST_PRIVATE_INODE, inodeNumber, originOf, parentPath, withNumber, type AreaImage, type ImageEntry, type ImageInode } from './area-image.js';
import { entryType, isFolder } from './inode-types.js';
import type { RawName } from './raw-names.js';
import type { TreeReader } from './tree-reader.js';

/*
 * What something has changed in one private area, taken out of it (`changeBetween`) and made in another one of the same tree
 * (`applyChange`), which was like the first one before. Both are pure: images in, images out.
 *
 * Two private areas are like one another at a path if their containers see the same there. A folder that is in the private area only for
 * what lies in it is like no entry at all; times of folders and symlinks, and numbers of inodes, do not count.
 */

/** Paths of a private area with a digest of what its container sees there; those that are as in the tree are left out. */
export type Sights = ReadonlyMap<RawName, string>;

/** An inode without a path: `#` and its number. Shown by names of the tree only. */
const unnamed = (number: number): RawName => `#${number}`;

function isPlainFolder(path: RawName, inode: ImageInode, tree: TreeReader): boolean {
  if (!isFolder(inode.mode) || inode.xattrs.length > 0) return false;
  if (path === '/' && inode.node === undefined) return true;
  const origin = originOf(inode);
  if (origin === undefined || inode.head.readUInt32LE(32) !== 0) return false;
  const node = tree.lookup(path);
  return node?.number === origin && node.mode === inode.mode && node.uid === inode.uid && node.gid === inode.gid && tree.xattrs(node).length === 0;
}

/** What a container sees of its private area. */
export function sights(image: AreaImage, tree: TreeReader): Sights {
  const digest = (text: string): string => createHash('sha256').update(text, 'latin1').digest('base64url').slice(0, 22);
  const seen = new Map<RawName, string>();
  const names = new Map<number, RawName[]>();
  for (const [path, entry] of image.entries) if (entry.kind === 'link') names.set(entry.number, [...(names.get(entry.number) ?? []), path]);
  const ofTree = (inode: ImageInode): string => {
    const number = inodeNumber(inode);
    return number !== undefined && number < FIRST_PRIVATE_INODE ? String(number) : '';
  };
  for (const [number, inode] of image.indexed) {
    const all = names.get(number) ?? [];
    const text = digest(`${describe(inode, ofTree(inode))}\n${all.sort().join('\n')}`);
    for (const path of all) seen.set(path, text);
    if (number < FIRST_PRIVATE_INODE) seen.set(unnamed(number), text);
  }
  for (const [path, entry] of image.entries) {
    if (entry.kind === 'whiteout') seen.set(path, 'whiteout');
    else if (entry.kind === 'inode' && !isPlainFolder(path, entry.inode, tree)) seen.set(path, digest(describe(entry.inode, ofTree(entry.inode))));
  }
  return seen;
}

function differences(one: Sights, other: Sights): Set<RawName> {
  const paths = new Set<RawName>();
  for (const path of new Set([...one.keys(), ...other.keys()])) if (one.get(path) !== other.get(path)) paths.add(path);
  return paths;
}

/** What has to be known of a change to make it elsewhere. */
export interface AreaChange {
  /** What the container saw before. */
  readonly before: Sights;
  /** What it wrote or removed; `true`: an inode that was there before, too, and is at the same place. */
  readonly written: ReadonlyMap<RawName, boolean>;
  /** What was written, and the folders above it. */
  readonly after: AreaImage;
}

function* ancestors(path: RawName): Generator<RawName> {
  for (let at = path; at !== '/'; ) {
    at = parentPath(at);
    yield at;
  }
}

function numberAt(image: AreaImage, path: RawName): number | undefined {
  const entry = image.entries.get(path);
  if (entry?.kind === 'link') return entry.number;
  return entry?.kind === 'inode' ? inodeNumber(entry.inode) : undefined;
}

export function changeBetween(before: AreaImage, after: AreaImage, tree: TreeReader): AreaChange {
  const was = sights(before, tree);
  const written = new Map<RawName, boolean>();
  const kept: AreaImage = { next: after.next, indexed: new Map(), entries: new Map() };
  const wanted = new Set<RawName>();
  for (const path of differences(was, sights(after, tree))) {
    const number = numberAt(after, path);
    written.set(path, number !== undefined && number === numberAt(before, path));
    if (path.startsWith('#')) {
      const inode = after.indexed.get(Number(path.slice(1)));
      if (inode !== undefined) kept.indexed.set(Number(path.slice(1)), inode);
      continue;
    }
    wanted.add(path);
    for (const folder of ancestors(path)) wanted.add(folder);
  }
  for (const [path, entry] of after.entries) {
    if (!wanted.has(path)) continue;
    kept.entries.set(path, entry);
    const inode = entry.kind === 'link' ? after.indexed.get(entry.number) : undefined;
    if (entry.kind === 'link' && inode !== undefined) kept.indexed.set(entry.number, inode);
  }
  return { before: was, written, after: kept };
}

/** Whether there is something of the same type at a path as in the tree. */
function isNamedAsInTree(path: RawName, target: AreaImage, tree: TreeReader): boolean {
  const entry = target.entries.get(path);
  const inode = entry?.kind === 'link' ? target.indexed.get(entry.number) : entry?.kind === 'inode' ? entry.inode : undefined;
  const node = tree.lookup(path);
  return inode !== undefined && node !== undefined && entryType(inode.mode) === entryType(node.mode);
}

export type AppliedChange = { readonly kind: 'applied'; readonly image: AreaImage } | { readonly kind: 'refused'; readonly path: RawName };

/**
 * Makes a change in another private area. Where that is not as the first was before the change, `isUnrelated` has to say that it does not
 * matter (`hasSameName`: whoever lists the folder sees no difference); what the change touches always does.
 *
 * @returns refused: the first path that is in the way; the images are as they were
 */
export function applyChange(change: AreaChange, target: AreaImage, tree: TreeReader, isUnrelated: (path: RawName, hasSameName: boolean) => boolean): AppliedChange {
  const { before, written, after } = change;
  const touched = new Set<RawName>();
  for (const path of written.keys()) {
    touched.add(path);
    if (!path.startsWith('#')) for (const folder of ancestors(path)) touched.add(folder);
  }
  const hasWrittenAbove = (path: RawName): boolean => [...ancestors(path)].some((folder) => written.has(folder));
  for (const path of differences(before, sights(target, tree))) {
    if (path.startsWith('#') || touched.has(path) || hasWrittenAbove(path) || !isUnrelated(path, !before.has(path) && isNamedAsInTree(path, target, tree))) return { kind: 'refused', path };
  }
  const entries = new Map<RawName, ImageEntry>();
  // A folder for which only its entries have been there goes with them, if the change has put something else above.
  for (const [path, entry] of target.entries) if (!written.has(path) && (path === '/' || !hasWrittenAbove(path) || before.has(path))) entries.set(path, entry);
  const indexed = new Map(target.indexed);
  const numbers = new Map<number, number>();
  let next = target.next;
  const newNumber = (path: RawName, number: number): number => {
    if (number < FIRST_PRIVATE_INODE) return number;
    // A folder above what was written is not itself written.
    const isSame = written.get(path) ?? true;
    const known = numbers.get(number) ?? (isSame ? numberAt(target, path) : undefined) ?? next++;
    numbers.set(number, known);
    return known;
  };
  const renumbered = (path: RawName, inode: ImageInode): ImageInode => {
    const number = inodeNumber(inode);
    return number === undefined ? inode : withNumber(inode, newNumber(path, number));
  };
  for (const path of written.keys()) {
    if (!path.startsWith('#')) continue;
    const number = Number(path.slice(1));
    const inode = after.indexed.get(number);
    if (inode === undefined) indexed.delete(number);
    else indexed.set(number, inode);
  }
  for (const [path, entry] of after.entries) {
    if (entry.kind === 'whiteout') entries.set(path, entry);
    else if (entry.kind === 'inode') entries.set(path, { kind: 'inode', inode: renumbered(path, entry.inode) });
    else {
      const inode = after.indexed.get(entry.number);
      if (inode === undefined) return { kind: 'refused', path };
      const number = newNumber(path, entry.number);
      indexed.set(number, withNumber(inode, number));
      entries.set(path, { kind: 'link', number });
    }
  }
  const image: AreaImage = { next, indexed, entries };
  dropUnused(image);
  const wrong = firstFault(image);
  return wrong === undefined ? { kind: 'applied', image } : { kind: 'refused', path: wrong };
}

/** Inodes of which the change has removed the last name. */
function dropUnused({ indexed, entries }: AreaImage): void {
  const used = new Set([...entries.values()].flatMap((entry) => (entry.kind === 'link' ? [entry.number] : [])));
  for (const [number, inode] of indexed) if (!used.has(number) && inode.node?.readUInt32LE(4) === 0) indexed.delete(number);
}

/** Numbers that come twice, entries without a folder. */
function firstFault({ indexed, entries }: AreaImage): RawName | undefined {
  const numbers = new Set(indexed.keys());
  for (const [path, entry] of entries) {
    const above = path === '/' ? undefined : entries.get(parentPath(path));
    if (path !== '/' && (above?.kind !== 'inode' || !isFolder(above.inode.mode))) return path;
    if (entry.kind === 'link' && !indexed.has(entry.number)) return path;
    const number = entry.kind === 'inode' ? inodeNumber(entry.inode) : undefined;
    if (number === undefined) continue;
    if (numbers.has(number)) return path;
    numbers.add(number);
  }
  return undefined;
}
