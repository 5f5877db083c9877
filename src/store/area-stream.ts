import { TemplatefsError } from '../core/errors.js';
import { encodeDevice, isKnownType, isRegular } from './inode-types.js';
import type { ByteSource } from './byte-source.js';
import type { NodeMetadata } from './hierarchy.js';
import type { ObjectId } from './object-id.js';
import { isValidName, type RawName } from './raw-names.js';
import { OWN_XATTR_PREFIX, type Xattr } from './xattr-set.js';

/*
 * A private area as `templatefs-engine area pack` writes it: docs/formats/area-stream.md. The engine checks what it unpacks; this
 * reader checks what it hands out.
 */

const MAGIC = 'tfsarea1';
const NODE_XATTR = `${OWN_XATTR_PREFIX}node`;
const MAX_DATA_BYTES = 1 << 20;
const MAX_XATTR_BYTES = 64 * 1024;

/** The object of a link or of a partial file, and how many of its bytes show. */
export interface ShownObject extends ObjectId {
  readonly bytes: number;
}

/** An inode of a private area. */
export interface AreaInode {
  readonly metadata: NodeMetadata;
  readonly size: number;
  readonly target: RawName;
  /** Without the node xattr. */
  readonly xattrs: readonly Xattr[];
  /** What the node xattr says; undefined without one. */
  readonly node: AreaNode | undefined;
}

export interface AreaNode {
  readonly kind: 'own' | 'link' | 'partial';
  readonly indexed: boolean;
  /** Names in the tree that show it. */
  readonly treeLinks: number;
  readonly inode: number;
  /** The tree node that it was copied from. */
  readonly origin: number | undefined;
  readonly object: ShownObject | undefined;
}

export type AreaRecord =
  | { readonly kind: 'indexed'; readonly inode: AreaInode }
  /** The first is the root folder itself, with an empty name; those after a folder are in it, until `up`. */
  | { readonly kind: 'entry'; readonly name: RawName; readonly inode: AreaInode }
  | { readonly kind: 'link'; readonly name: RawName; readonly number: number }
  | { readonly kind: 'whiteout'; readonly name: RawName }
  | { readonly kind: 'up' }
  | { readonly kind: 'end' };

/** Reads one stream. After a record with a regular file its data may be read; what is left is passed over. */
export class AreaStreamReader {
  readonly #source: ByteSource;
  #begun = false;
  #inContent = false;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** @throws INTEGRITY */
  async next(): Promise<AreaRecord> {
    if (!this.#begun) await this.#begin();
    for (let data = await this.data(); data !== undefined; data = await this.data()) {
      if ((await this.#source.skip(data.length)) !== data.length) throw refused('it is cut short');
    }
    const kind = String.fromCharCode((await this.#take(1)).readUInt8());
    switch (kind) {
      case 'I':
        return { kind: 'indexed', inode: await this.#inode() };
      case 'E': {
        const name = await this.#text();
        if (name !== '' && !isValidName(name)) throw refused('a name is none');
        return { kind: 'entry', name, inode: await this.#inode() };
      }
      case 'L':
        return { kind: 'link', name: await this.#name(), number: safe((await this.#take(8)).readBigUInt64LE()) };
      case 'W':
        return { kind: 'whiteout', name: await this.#name() };
      case 'U':
        return { kind: 'up' };
      case 'Z':
        return { kind: 'end' };
      default:
        throw refused(`a record of kind ${JSON.stringify(kind)}`);
    }
  }

  /** The next piece of the last inode's content, to be read by `fill`; undefined at its end. Between them are holes. */
  async data(): Promise<{ readonly offset: number; readonly length: number } | undefined> {
    if (!this.#inContent) return undefined;
    const length = (await this.#take(4)).readUInt32LE();
    if (length === 0) {
      this.#inContent = false;
      return undefined;
    }
    if (length > MAX_DATA_BYTES) throw refused('a piece of content is too long');
    return { offset: safe((await this.#take(8)).readBigUInt64LE()), length };
  }

  async fill(target: Buffer): Promise<void> {
    if ((await this.#source.fill(target)) !== target.length) throw refused('it is cut short');
  }

  async #begin(): Promise<void> {
    this.#begun = true;
    if ((await this.#take(MAGIC.length)).toString('latin1') !== MAGIC) throw refused('it does not begin like one');
    if ((await this.#take(9)).readUInt8() !== 'N'.charCodeAt(0)) throw refused('it has no numbers');
  }

  async #inode(): Promise<AreaInode> {
    const fixed = await this.#take(48);
    const mode = fixed.readUInt32LE(0);
    const metadata = {
      mode,
      uid: fixed.readUInt32LE(4),
      gid: fixed.readUInt32LE(8),
      rdev: encodeDevice(fixed.readUInt32LE(12), fixed.readUInt32LE(16)),
      mtimeSeconds: safe(fixed.readBigInt64LE(20)),
      mtimeNanoseconds: fixed.readUInt32LE(28),
    };
    const size = safe(fixed.readBigUInt64LE(36));
    // 4 bytes in the middle are flags of chattr(1), which trees have not; the last 4 are the length of the target and its beginning.
    const targetLength = fixed.readUInt16LE(44);
    const first = Buffer.from(fixed.subarray(46, 48));
    if (!isKnownType(mode) || metadata.mtimeNanoseconds > 999_999_999) throw refused('an inode is none');
    const rest = targetLength === 0 ? undefined : await this.#rest(first, targetLength);
    const target = rest?.target ?? '';
    const count = rest?.count ?? first.readUInt16LE();
    const xattrs: Xattr[] = [];
    let node: AreaNode | undefined;
    for (let index = 0; index < count; index++) {
      const name = await this.#text();
      const length = (await this.#take(4)).readUInt32LE();
      if (length > MAX_XATTR_BYTES) throw refused('an xattr is too long');
      const value = Buffer.from(await this.#take(length));
      if (name === NODE_XATTR) node = parseNode(value);
      else xattrs.push({ name, value });
    }
    this.#inContent = isRegular(mode);
    return { metadata, size, target, xattrs, node };
  }

  /** The target, of which two bytes were read already, and the number of xattrs behind it. */
  async #rest(first: Buffer, length: number): Promise<{ target: RawName; count: number }> {
    const bytes = Buffer.concat([first, await this.#take(length)]);
    return { target: bytes.toString('latin1', 0, length), count: bytes.readUInt16LE(length) };
  }

  async #text(): Promise<RawName> {
    const length = (await this.#take(2)).readUInt16LE();
    return (await this.#take(length)).toString('latin1');
  }

  async #name(): Promise<RawName> {
    const name = await this.#text();
    if (!isValidName(name)) throw refused('a name is none');
    return name;
  }

  async #take(length: number): Promise<Buffer> {
    const bytes = await this.#source.take(length);
    if (bytes.length !== length) throw refused('it is cut short');
    return bytes;
  }
}

/** docs/formats/private-area.md */
function parseNode(value: Buffer): AreaNode {
  const kind = (['own', 'link', 'partial'] as const)[value.length >= 24 ? value.readUInt8(1) : 3];
  if (kind === undefined || value.readUInt8(0) !== 1) throw refused('a node xattr is none');
  const flags = value.readUInt16LE(2);
  // A link that was merged has its ctime behind the rest.
  const hasCtime = kind === 'link' && (flags & 8) !== 0;
  if (value.length !== (kind === 'own' ? 24 : hasCtime ? 56 : 48)) throw refused('a node xattr is none');
  return {
    kind,
    indexed: (flags & 1) !== 0,
    treeLinks: value.readUInt32LE(4),
    inode: safe(value.readBigUInt64LE(8)),
    origin: (flags & 2) !== 0 ? value.readUInt32LE(16) : undefined,
    object: kind === 'own' ? undefined : { hash: value.toString('hex', 24, 40), variant: value.readUInt32LE(20), bytes: safe(value.readBigUInt64LE(40)) },
  };
}

function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw refused('a number is out of range');
  return number;
}

function refused(why: string): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `this is no private area: ${why}`, { hint: 'build the engine and the control plane together (npm run build); a backup that says so is broken' });
}
