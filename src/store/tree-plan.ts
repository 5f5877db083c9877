import type { Hierarchy, NodeIndex } from './hierarchy.js';
import { isFolder, isRegular, isSymlink } from './inode-types.js';
import type { ObjectReference } from './object-id.js';
import type { RawName } from './raw-names.js';
import { MAX_NODES, MAX_SECTION_BYTES, MAX_TARGET_LENGTH } from './tree-format.js';
import { TemplatefsError } from '../core/errors.js';

const UNNUMBERED = 0xffff_ffff;

/** Every number that the image of a hierarchy holds, before a byte of it is written. */
export interface TreePlan {
  /** The hierarchy's node of each tree node. */
  readonly nodes: Uint32Array;
  readonly parents: Uint32Array;
  readonly linkCounts: Uint32Array;
  /** Folder: its first entry. Symlink: its target's offset in strings. Regular file: its object or NO_OBJECT. */
  readonly data: Uint32Array;
  /** 0, or 1 + the offset of the node's xattr set. */
  readonly xattrs: Uint32Array;
  readonly entryNames: readonly RawName[];
  readonly entryNameOffsets: Uint32Array;
  /** The tree node of each entry. */
  readonly entryNodes: Uint32Array;
  /** Hierarchy objects in the order of the image. */
  readonly objects: readonly number[];
  /** Hierarchy xattr sets in the order of the image. */
  readonly xattrSets: readonly number[];
  readonly xattrsSize: number;
  readonly strings: readonly RawName[];
  readonly stringsSize: number;
  readonly contentBytes: number;
  readonly regularCount: number;
}

/** Numbers a hierarchy's nodes, entries, strings, xattr sets and objects. @throws FAILED what no image can hold */
export function planTree(hierarchy: Hierarchy): TreePlan {
  const walk = numberNodes(hierarchy);
  const objects = placeObjects(hierarchy, walk);
  return { ...walk, ...placeStrings(hierarchy, walk), ...placeXattrs(hierarchy, walk), objects, ...sumContent(hierarchy, walk) };
}

type Walk = Pick<TreePlan, 'nodes' | 'parents' | 'linkCounts' | 'data' | 'entryNames' | 'entryNodes'>;

/** Breadth-first: each folder's names in order; a node is numbered where its first name is met. */
function numberNodes(hierarchy: Hierarchy): Walk {
  const total = hierarchy.nodeCount;
  const numbers = new Uint32Array(total).fill(UNNUMBERED);
  const nodes = new Uint32Array(total);
  const parents = new Uint32Array(total);
  const linkCounts = new Uint32Array(total);
  const data = new Uint32Array(total);
  const entryNames: RawName[] = [];
  const entryNodes: number[] = [];
  numbers[hierarchy.root] = 0;
  nodes[0] = hierarchy.root;
  linkCounts[0] = 2;
  let count = 1;
  for (let folder = 0; folder < count; folder += 1) {
    const source: NodeIndex = nodes[folder] ?? 0;
    if (!isFolder(hierarchy.mode(source))) continue;
    data[folder] = entryNames.length;
    const children = hierarchy.children(source);
    for (const name of [...children.keys()].sort(compareRaw)) {
      const child = children.get(name) ?? 0;
      let number = numbers[child] ?? UNNUMBERED;
      const childIsFolder = isFolder(hierarchy.mode(child));
      if (number === UNNUMBERED) {
        number = count;
        count += 1;
        numbers[child] = number;
        nodes[number] = child;
        parents[number] = folder;
        if (childIsFolder) linkCounts[number] = 2;
      } else if (childIsFolder) {
        throw new Error('a folder has one name only');
      }
      if (childIsFolder) linkCounts[folder] = (linkCounts[folder] ?? 0) + 1;
      else linkCounts[number] = (linkCounts[number] ?? 0) + 1;
      entryNames.push(name);
      entryNodes.push(number);
    }
  }
  if (count > MAX_NODES || entryNames.length >= UNNUMBERED) throw tooLarge('files');
  return {
    nodes: nodes.subarray(0, count),
    parents: parents.subarray(0, count),
    linkCounts: linkCounts.subarray(0, count),
    data: data.subarray(0, count),
    entryNames,
    entryNodes: Uint32Array.from(entryNodes),
  };
}

/** Raw strings compare as their bytes do; this is faster than `localeCompare` and says so. */
function compareRaw(a: RawName, b: RawName): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Equal strings once, in the order of first use: each name, and after a symlink's first name its target. */
function placeStrings(
  hierarchy: Hierarchy,
  walk: Walk,
): Pick<TreePlan, 'entryNameOffsets' | 'strings' | 'stringsSize'> {
  const offsets = new Map<string, number>();
  const strings: string[] = [];
  let size = 0;
  const place = (text: string): number => {
    let offset = offsets.get(text);
    if (offset === undefined) {
      offset = size;
      offsets.set(text, offset);
      strings.push(text);
      size += text.length;
    }
    return offset;
  };
  const entryNameOffsets = new Uint32Array(walk.entryNames.length);
  let seen = 0;
  for (const [entry, name] of walk.entryNames.entries()) {
    entryNameOffsets[entry] = place(name);
    const node = walk.entryNodes[entry] ?? 0;
    if (node <= seen) continue;
    seen = node;
    const source = walk.nodes[node] ?? 0;
    if (!isSymlink(hierarchy.mode(source))) continue;
    const target = hierarchy.target(source) ?? '';
    if (target.length === 0 || target.length > MAX_TARGET_LENGTH) throw new Error(`symlink target of ${target.length} bytes`);
    walk.data[node] = place(target);
  }
  if (size > MAX_SECTION_BYTES) throw tooLarge('names');
  return { entryNameOffsets, strings, stringsSize: size };
}

function placeXattrs(hierarchy: Hierarchy, walk: Walk): Pick<TreePlan, 'xattrs' | 'xattrSets' | 'xattrsSize'> {
  const xattrs = new Uint32Array(walk.nodes.length);
  const offsets = new Map<number, number>();
  let size = 0;
  for (const [number, source] of walk.nodes.entries()) {
    const set = hierarchy.xattrSet(source);
    if (set === undefined) continue;
    let offset = offsets.get(set);
    if (offset === undefined) {
      offset = size;
      offsets.set(set, offset);
      size += hierarchy.xattrSetBytes(set).length;
      if (size > MAX_SECTION_BYTES) throw tooLarge('xattrs');
    }
    xattrs[number] = offset + 1;
  }
  return { xattrs, xattrSets: [...offsets.keys()], xattrsSize: size };
}

/** Objects sorted by hash and variant; equal ones once, also where the hierarchy lists one twice. */
function placeObjects(hierarchy: Hierarchy, walk: Walk): number[] {
  const isUsed = new Uint8Array(hierarchy.objects.length);
  for (const source of walk.nodes) {
    const object = hierarchy.object(source);
    if (object !== undefined && isRegular(hierarchy.mode(source))) isUsed[object] = 1;
  }
  const objectAt = (index: number): ObjectReference => {
    const object = hierarchy.objects[index];
    if (object === undefined) throw new Error(`no object ${index}`);
    return object;
  };
  const sorted: number[] = [];
  for (const [index, used] of isUsed.entries()) if (used === 1) sorted.push(index);
  sorted.sort((a, b) => {
    const left = objectAt(a);
    const right = objectAt(b);
    return compareRaw(left.hash, right.hash) || left.variant - right.variant;
  });
  const unique: number[] = [];
  const places = new Uint32Array(hierarchy.objects.length);
  let last: ObjectReference | undefined;
  for (const index of sorted) {
    const object = objectAt(index);
    if (last?.hash !== object.hash || last.variant !== object.variant) unique.push(index);
    places[index] = unique.length - 1;
    last = object;
  }
  for (const [number, source] of walk.nodes.entries()) {
    if (!isRegular(hierarchy.mode(source))) continue;
    const object = hierarchy.object(source);
    walk.data[number] = object === undefined ? UNNUMBERED : (places[object] ?? UNNUMBERED);
  }
  return unique;
}

function sumContent(hierarchy: Hierarchy, walk: Walk): Pick<TreePlan, 'contentBytes' | 'regularCount'> {
  let contentBytes = 0;
  let regularCount = 0;
  for (const source of walk.nodes) {
    if (!isRegular(hierarchy.mode(source))) continue;
    regularCount += 1;
    contentBytes += hierarchy.size(source);
  }
  return { contentBytes, regularCount };
}

function tooLarge(what: string): TemplatefsError {
  return new TemplatefsError('FAILED', `too many ${what} for one tree`, { hint: 'split the template into several' });
}
