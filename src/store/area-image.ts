import { TemplatefsError } from '../core/errors.js';
import { isFolder, isRegular, isSymlink } from './inode-types.js';
import { formatObjectId, type ObjectReference } from './object-id.js';
import { isValidName, type RawName } from './raw-names.js';
import { OWN_XATTR_PREFIX } from './xattr-set.js';

/*
 * A whole area stream (docs/formats/area-stream.md) in memory, to be changed and written again: for private areas that are small. What is
 * read here was written by the engine; what is written here is checked by the engine when it unpacks it.
 */

const MAGIC = 'tfsarea1';
const NODE_XATTR = `${OWN_XATTR_PREFIX}node`;
/** Numbers below are those of tree nodes, which copies keep. */
export const FIRST_PRIVATE_INODE = 2 ** 28;

export interface ImageXattr {
  readonly name: RawName;
  readonly value: Buffer;
}

export interface ImageInode {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** From mode to the target of a symlink, as it stands in the stream. */
  readonly head: Buffer;
  /** The head without the mtime. */
  readonly shape: Buffer;
  /** Without the node xattr. */
  readonly xattrs: readonly ImageXattr[];
  /** The node xattr: docs/formats/private-area.md; undefined without one. */
  readonly node: Buffer | undefined;
  /** Of a regular file: pieces of content, as they stand in the stream, with their end. */
  readonly content: Buffer;
}

export type ImageEntry =
  | { readonly kind: 'inode'; readonly inode: ImageInode }
  /** A name of an inode of `indexed`. */
  | { readonly kind: 'link'; readonly number: number }
  | { readonly kind: 'whiteout' };

export interface AreaImage {
  /** No inode has this number or a higher one. */
  next: number;
  readonly indexed: Map<number, ImageInode>;
  /** By path from `/`, which is there unless the area was never mounted. Folders come before what is in them. */
  readonly entries: Map<RawName, ImageEntry>;
}

export const inodeNumber = (inode: ImageInode): number | undefined => (inode.node === undefined ? undefined : Number(inode.node.readBigUInt64LE(8)));
/** The tree node that it was copied from. */
export const originOf = ({ node }: ImageInode): number | undefined => (node !== undefined && (node.readUInt16LE(2) & 2) !== 0 ? node.readUInt32LE(16) : undefined);
export const isLink = ({ node }: ImageInode): boolean => node?.readUInt8(1) === 1;

/** The object that a link or a partial file shows. */
export function objectOf({ node }: ImageInode): ObjectReference | undefined {
  if (node === undefined || node.readUInt8(1) === 0) return undefined;
  return { hash: node.toString('hex', 24, 40), variant: node.readUInt32LE(20), size: Number(node.readBigUInt64LE(40)) };
}

/** The same inode under another number. */
export function withNumber(inode: ImageInode, number: number): ImageInode {
  if (inode.node === undefined) return inode;
  const node = Buffer.from(inode.node);
  node.writeBigUInt64LE(BigInt(number), 8);
  return { ...inode, node };
}

/** All bytes of a regular file that is its own; undefined for one with holes or with an object. */
export function ownContent(inode: ImageInode): Buffer | undefined {
  if (!isRegular(inode.mode) || objectOf(inode) !== undefined) return undefined;
  const pieces: Buffer[] = [];
  let done = 0;
  for (let at = 0; ; ) {
    const length = inode.content.readUInt32LE(at);
    if (length === 0) return done === inode.size ? Buffer.concat(pieces) : undefined;
    if (Number(inode.content.readBigUInt64LE(at + 4)) !== done) return undefined;
    pieces.push(inode.content.subarray(at + 12, at + 12 + length));
    done += length;
    at += 12 + length;
  }
}

/** A regular file that is its own, with other bytes of any length. */
export function withContent(inode: ImageInode, bytes: Buffer): ImageInode {
  const head = Buffer.from(inode.head);
  head.writeBigUInt64LE(BigInt(bytes.length), SIZE_AT);
  const start = Buffer.alloc(12);
  start.writeUInt32LE(bytes.length, 0);
  const content = bytes.length === 0 ? Buffer.alloc(4) : Buffer.concat([start, bytes, Buffer.alloc(4)]);
  return { ...inode, size: bytes.length, head, shape: shapeOf(head), content };
}

/**
 * What an inode is like but for its number, where its content lies, and of folders and symlinks their times: a text that is equal for equals.
 * Nobody looks at the time of a symlink (also not `rpm -V`), and there are some that a package manager makes where they are missing.
 */
export function describe(inode: ImageInode, number: string): string {
  const object = objectOf(inode);
  const kind = inode.node === undefined ? '-' : `${inode.node.readUInt8(1)} ${originOf(inode) ?? ''} ${inode.node.readUInt32LE(4)}`;
  const xattrs = inode.xattrs.map(({ name, value }) => `${name}=${value.toString('hex')}`).join(' ');
  const content = object === undefined || !isLink(inode) ? inode.content.toString('latin1') : '';
  const time = isFolder(inode.mode) || isSymlink(inode.mode) ? '' : inode.head.toString('hex', MTIME_AT, MTIME_END);
  return [inode.shape.toString('hex'), time, kind, number, object === undefined ? '' : `${formatObjectId(object)} ${object.size}`, xattrs, content].join('\n');
}

const MTIME_AT = 20;
const MTIME_END = 32;
const SIZE_AT = 36;
const FIXED_BYTES = 46;

function shapeOf(head: Buffer): Buffer {
  return Buffer.concat([head.subarray(0, MTIME_AT), head.subarray(MTIME_END)]);
}

/** @throws INTEGRITY */
export function readAreaImage(bytes: Buffer): AreaImage {
  try {
    return new Reader(bytes).read();
  } catch (error) {
    if (error instanceof TemplatefsError) throw error;
    throw refused('it is cut short', error);
  }
}

function refused(why: string, cause?: unknown): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `this is no private area: ${why}`, { hint: 'build the engine and the control plane together: npm run build', cause });
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(): AreaImage {
    if (this.#take(MAGIC.length).toString('latin1') !== MAGIC) throw refused('it does not begin like one');
    if (this.#kind() !== 'N') throw refused('it has no numbers');
    const image: AreaImage = { next: this.#u64(), indexed: new Map(), entries: new Map() };
    const way: RawName[] = [];
    const pathOf = (name: RawName): RawName => (way.length === 1 ? `/${name}` : `${way.at(-1) ?? ''}/${name}`);
    for (;;) {
      switch (this.#kind()) {
        case 'I': {
          const inode = this.#inode();
          image.indexed.set(inodeNumber(inode) ?? 0, inode);
          break;
        }
        case 'E': {
          const name = this.#text();
          if (way.length > 0 && !isValidName(name)) throw refused('a name is none');
          const path = way.length === 0 ? '/' : pathOf(name);
          const inode = this.#inode();
          image.entries.set(path, { kind: 'inode', inode });
          if (isFolder(inode.mode)) way.push(path);
          break;
        }
        case 'L': {
          const path = pathOf(this.#text());
          image.entries.set(path, { kind: 'link', number: this.#u64() });
          break;
        }
        case 'W':
          image.entries.set(pathOf(this.#text()), { kind: 'whiteout' });
          break;
        case 'U':
          way.pop();
          break;
        case 'Z':
          return image;
        default:
          throw refused('a record of an unknown kind');
      }
    }
  }

  #take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw refused('it is cut short');
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes;
  }

  #kind(): string {
    return String.fromCharCode(this.#take(1).readUInt8());
  }

  #u16(): number {
    return this.#take(2).readUInt16LE();
  }

  #u32(): number {
    return this.#take(4).readUInt32LE();
  }

  #u64(): number {
    return Number(this.#take(8).readBigUInt64LE());
  }

  #text(): RawName {
    return this.#take(this.#u16()).toString('latin1');
  }

  #inode(): ImageInode {
    const from = this.#at;
    const fixed = this.#take(FIXED_BYTES);
    this.#take(fixed.readUInt16LE(FIXED_BYTES - 2));
    const head = this.#bytes.subarray(from, this.#at);
    const mode = fixed.readUInt32LE(0);
    const xattrs: ImageXattr[] = [];
    let node: Buffer | undefined;
    for (let left = this.#u16(); left > 0; left -= 1) {
      const name = this.#text();
      const value = this.#take(this.#u32());
      if (name === NODE_XATTR) node = value;
      else xattrs.push({ name, value });
    }
    if (node !== undefined && node.length < (node.readUInt8(1) === 0 ? 24 : 48)) throw refused('a node xattr is none');
    const begin = this.#at;
    if (isRegular(mode)) for (let length = this.#u32(); length > 0; length = this.#u32()) this.#take(8 + length);
    return {
      mode, uid: fixed.readUInt32LE(4), gid: fixed.readUInt32LE(8), size: Number(fixed.readBigUInt64LE(SIZE_AT)),
      head, shape: shapeOf(head), xattrs, node, content: this.#bytes.subarray(begin, this.#at),
    };
  }
}

const compareNames = (a: RawName, b: RawName): number => (a < b ? -1 : 1);

/** The path of the folder that an entry is in. */
export function parentPath(path: RawName): RawName {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

/** The stream of an image, which is the same for equal ones. */
export function writeAreaImage(image: AreaImage): Buffer {
  const pieces: Buffer[] = [Buffer.from(`${MAGIC}N`), u64(image.next)];
  for (const [, inode] of [...image.indexed].sort(([a], [b]) => a - b)) pieces.push(Buffer.from('I'), ...inodePieces(inode));
  const names = new Map<RawName, RawName[]>();
  for (const path of image.entries.keys()) {
    if (path === '/') continue;
    const parent = parentPath(path);
    const siblings = names.get(parent) ?? [];
    siblings.push(path.slice(path.lastIndexOf('/') + 1));
    names.set(parent, siblings);
  }
  const put = (path: RawName, name: RawName): void => {
    const entry = image.entries.get(path);
    if (entry === undefined) throw new Error(`nothing at ${path}`);
    if (entry.kind === 'whiteout') pieces.push(Buffer.from('W'), text(name));
    else if (entry.kind === 'link') pieces.push(Buffer.from('L'), text(name), u64(entry.number));
    else {
      pieces.push(Buffer.from('E'), text(name), ...inodePieces(entry.inode));
      if (!isFolder(entry.inode.mode)) return;
      for (const child of (names.get(path) ?? []).sort(compareNames)) put(path === '/' ? `/${child}` : `${path}/${child}`, child);
      pieces.push(Buffer.from('U'));
    }
  };
  if (image.entries.has('/')) put('/', '');
  pieces.push(Buffer.from('Z'));
  return Buffer.concat(pieces);
}

function inodePieces({ head, xattrs, node, content }: ImageInode): Buffer[] {
  const all = node === undefined ? [...xattrs] : [...xattrs, { name: NODE_XATTR, value: node }];
  return [head, u16(all.length), ...all.sort((a, b) => compareNames(a.name, b.name)).flatMap(({ name, value }) => [text(name), u32(value.length), value]), content];
}

function text(value: RawName): Buffer {
  return Buffer.concat([u16(value.length), Buffer.from(value, 'latin1')]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
