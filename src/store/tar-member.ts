import { badMember } from './bad-archive.js';
import { MAX_MAJOR, MAX_MINOR, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from './inode-types.js';
import { parsePaxInteger, parsePaxTime, type PaxRecords } from './pax-records.js';
import type { RawName } from './raw-names.js';
import type { TarHeader } from './tar-header.js';
import { memberXattrs, type XattrLimits } from './tar-xattrs.js';
import type { Segment } from './tar-sparse.js';
import type { Xattr } from './xattr-set.js';

/** One member of an archive, whatever format it came in. */
export interface TarMember {
  /** As the archive has it: not yet split, cleaned or checked. */
  readonly path: RawName;
  /** Byte of the decompressed archive at which its first header starts. */
  readonly offset: number;
  readonly kind: 'node' | 'link';
  /** Type and permission bits; for a hard link of no meaning. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly major: number;
  readonly minor: number;
  /** Target of a symlink or hard link. */
  readonly target: RawName;
  /** Bytes of a regular file, holes included. */
  readonly size: number;
  /** The data of a sparse file; undefined when all of it is data. */
  readonly segments: readonly Segment[] | undefined;
  readonly xattrs: readonly Xattr[];
}

const MAX_ID = 0xffff_fffe;
const TYPES: ReadonlyMap<string, number> = new Map([
  ['\0', S_IFREG],
  ['0', S_IFREG],
  ['7', S_IFREG],
  ['S', S_IFREG],
  ['2', S_IFLNK],
  ['3', S_IFCHR],
  ['4', S_IFBLK],
  ['5', S_IFDIR],
  ['D', S_IFDIR],
  ['6', S_IFIFO],
]);

/** What came before a member's own header and belongs to it. */
export interface MemberExtras {
  readonly offset: number;
  readonly records: PaxRecords;
  /** GNU long name and long link target. */
  readonly longName: RawName | undefined;
  readonly longLink: RawName | undefined;
}

/** The member's name: PAX before GNU before the header. */
export function memberPath(header: TarHeader, { records, longName }: MemberExtras): RawName {
  const name = records.values.get('GNU.sparse.name') ?? records.values.get('path');
  return name !== undefined && name.length > 0 ? name.toString('latin1') : (longName ?? header.name);
}

/** Bytes of data that follow the member's header, if its type has any. */
export function storedSize(header: TarHeader, extras: MemberExtras): number {
  return numberRecord(header, extras, 'size') ?? header.size;
}

/** Puts header, long names and PAX records together. Size and segments are the caller's. @throws BAD_ARCHIVE */
export function buildMember(
  header: TarHeader,
  extras: MemberExtras,
  content: { readonly size: number; readonly segments: readonly Segment[] | undefined },
  limits: XattrLimits,
): TarMember {
  const path = memberPath(header, extras);
  const refuse = (rule: string): never => {
    throw badMember({ path, offset: extras.offset }, rule);
  };
  const type = memberType(header, path) ?? refuse(`its type ${JSON.stringify(header.type)} is not known`);
  const uid = numberRecord(header, extras, 'uid') ?? header.uid;
  const gid = numberRecord(header, extras, 'gid') ?? header.gid;
  if (uid < 0 || gid < 0 || uid > MAX_ID || gid > MAX_ID) refuse('its owner is out of range');
  if (header.major < 0 || header.minor < 0 || header.major > MAX_MAJOR || header.minor > MAX_MINOR) refuse('its device number is out of range');
  const link = extras.records.values.get('linkpath');
  const mtime = extras.records.values.get('mtime');
  const time =
    mtime === undefined || mtime.length === 0 ? { seconds: header.mtime, nanoseconds: 0 } : (parsePaxTime(mtime) ?? refuse('its mtime is no time'));
  const { xattrs, permissions } = memberXattrs(extras.records, type, limits, refuse);
  return {
    path,
    offset: extras.offset,
    kind: header.type === '1' ? 'link' : 'node',
    // Linux gives every symlink mode 0777.
    mode: type === S_IFLNK ? S_IFLNK | 0o777 : type | (header.mode & 0o7777 & (permissions === undefined ? 0o7777 : 0o7000)) | (permissions ?? 0),
    uid,
    gid,
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    major: header.major,
    minor: header.minor,
    target: link !== undefined && link.length > 0 ? link.toString('latin1') : (extras.longLink ?? header.linkName),
    ...content,
    xattrs,
  };
}

/** The type bits; 0 for a hard link. Old archives have no type for folders, only a slash at the end of the name. */
function memberType(header: TarHeader, path: RawName): number | undefined {
  if (header.type === '1') return 0;
  const type = TYPES.get(header.type);
  return type === S_IFREG && path.endsWith('/') ? S_IFDIR : type;
}

/** Whether data follows the header: only regular files have any, whatever size stands in the others. */
export function hasData(header: TarHeader, extras: MemberExtras): boolean {
  return memberType(header, memberPath(header, extras)) === S_IFREG || header.type === 'D';
}

function numberRecord(header: TarHeader, extras: MemberExtras, key: string): number | undefined {
  const value = extras.records.values.get(key);
  if (value === undefined || value.length === 0) return undefined;
  const number = parsePaxInteger(value);
  if (number === undefined) throw badMember({ path: memberPath(header, extras), offset: extras.offset }, `its ${key} is no number`);
  return number;
}
