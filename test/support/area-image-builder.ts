import { withContent, type AreaImage, type ImageEntry, type ImageInode } from '../../src/store/area-image.js';

/** What a test says of an inode of a private area. */
export interface BuiltInode {
  readonly mode?: number;
  readonly number: number;
  /** The tree node that it was copied from. */
  readonly origin?: number;
  /** Makes it a link. */
  readonly object?: { readonly hash: string; readonly size: number };
  readonly content?: string;
  readonly mtime?: number;
}

const REGULAR = 0o100644;
const FOLDER = 0o040755;

export function inode({ mode = REGULAR, number, origin, object, content, mtime = 0 }: BuiltInode): ImageInode {
  const head = Buffer.alloc(46);
  head.writeUInt32LE(mode, 0);
  head.writeBigInt64LE(BigInt(mtime), 20);
  if (object !== undefined) head.writeBigUInt64LE(BigInt(object.size), 36);
  const node = Buffer.alloc(object === undefined ? 24 : 48);
  node.writeUInt8(1, 0);
  node.writeUInt8(object === undefined ? 0 : 1, 1);
  node.writeUInt16LE(origin === undefined ? 0 : 2, 2);
  node.writeBigUInt64LE(BigInt(number), 8);
  if (origin !== undefined) node.writeUInt32LE(origin, 16);
  if (object !== undefined) {
    node.write(object.hash, 24, 'hex');
    node.writeBigUInt64LE(BigInt(object.size), 40);
  }
  const isRegular = (mode & 0o170000) === 0o100000;
  const shape = Buffer.concat([head.subarray(0, 20), head.subarray(32)]);
  const made: ImageInode = { mode, uid: 0, gid: 0, size: object?.size ?? 0, head, shape, xattrs: [], node, content: Buffer.alloc(isRegular ? 4 : 0) };
  return content === undefined ? made : withContent(made, Buffer.from(content));
}

export function folder(number: number, origin?: number): ImageInode {
  return inode({ mode: FOLDER, number, ...(origin !== undefined && { origin }) });
}

/** @param entries by path; the folders above each have to be there */
export function image(entries: Readonly<Record<string, ImageInode | 'whiteout' | { readonly link: number }>>, indexed: readonly ImageInode[] = []): AreaImage {
  const all = Object.entries(entries).map(([path, value]): [string, ImageEntry] => {
    if (value === 'whiteout') return [path, { kind: 'whiteout' }];
    return [path, 'link' in value ? { kind: 'link', number: value.link } : { kind: 'inode', inode: value }];
  });
  return { next: 2 ** 28 + 1000, indexed: new Map(indexed.map((one) => [Number(one.node?.readBigUInt64LE(8)), one])), entries: new Map(all) };
}
