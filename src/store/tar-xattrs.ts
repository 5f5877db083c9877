import { S_IFDIR, S_IFLNK } from './inode-types.js';
import type { PaxRecords } from './pax-records.js';
import { checkAcl, parseAclText, type AclIds } from './posix-acl.js';
import type { RawName } from './raw-names.js';
import { OWN_XATTR_PREFIX, type Xattr } from './xattr-set.js';

const ACCESS_ACL = 'system.posix_acl_access';
const DEFAULT_ACL = 'system.posix_acl_default';
const SCHILY_PREFIX = 'SCHILY.xattr.';
const LIBARCHIVE_PREFIX = 'LIBARCHIVE.xattr.';
/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h: the kernel passes on no more. */
const MAX_VALUE_BYTES = 65_536;
const MAX_LIST_BYTES = 65_536;

export interface XattrLimits {
  /** Who the names in ACLs are. */
  readonly aclIds: AclIds;
}

export interface MemberXattrs {
  readonly xattrs: readonly Xattr[];
  /** The nine permission bits that an access ACL gives the member, as the kernel would set them. */
  readonly permissions: number | undefined;
}

const NO_XATTRS: MemberXattrs = { xattrs: [], permissions: undefined };

/** The xattrs of a member from its PAX records, ACLs included. Those of our own are dropped. */
export function memberXattrs(records: PaxRecords, type: number, limits: XattrLimits, refuse: (rule: string) => never): MemberXattrs {
  const values = collect(records, refuse);
  // An archive that holds an ACL as an xattr and as text means one ACL; the xattr has numbers, not names.
  addTextAcl(values, ACCESS_ACL, records.values.get('SCHILY.acl.access'), limits, refuse);
  addTextAcl(values, DEFAULT_ACL, records.values.get('SCHILY.acl.default'), limits, refuse);
  if (values.size === 0) return NO_XATTRS;
  const permissions = applyAccessAcl(values, type, refuse);
  applyDefaultAcl(values, type, refuse);
  let listBytes = 0;
  for (const name of values.keys()) listBytes += name.length + 1;
  if (listBytes > MAX_LIST_BYTES) refuse('it has more xattrs than the kernel can list');
  return { xattrs: [...values].map(([name, value]) => ({ name, value })), permissions };
}

/** XFS lists ACLs under these names, beside the ones by which every file system has them. */
const ACLS_OF_XFS: ReadonlySet<string> = new Set(['trusted.SGI_ACL_FILE', 'trusted.SGI_ACL_DEFAULT']);

function collect(records: PaxRecords, refuse: (rule: string) => never): Map<RawName, Buffer> {
  const values = new Map<RawName, Buffer>();
  for (const [key, value] of records.values) {
    let name: string;
    let bytes = value;
    if (key.startsWith(SCHILY_PREFIX)) {
      // GNU tar writes the two bytes that would end the key or look like its own escapes as %3D and %25.
      name = key.slice(SCHILY_PREFIX.length).replace(/%3D|%25/g, (escape) => (escape === '%3D' ? '=' : '%'));
    } else if (key.startsWith(LIBARCHIVE_PREFIX)) {
      name = key.slice(LIBARCHIVE_PREFIX.length).replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
      if (values.has(name)) continue;
      bytes = decodeBase64(value) ?? refuse(`xattr ${JSON.stringify(name)} is no base64`);
    } else {
      continue;
    }
    if (name.startsWith(OWN_XATTR_PREFIX) || ACLS_OF_XFS.has(name)) continue;
    if (name.length === 0 || name.length > 255 || name.includes('\0')) refuse('it has an xattr whose name is not valid');
    if (bytes.length > MAX_VALUE_BYTES) refuse(`xattr ${JSON.stringify(name)} has ${bytes.length} bytes, more than 64 KiB`);
    values.set(name, bytes);
  }
  return values;
}

function decodeBase64(value: Buffer): Buffer | undefined {
  const text = value.toString('latin1');
  return /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

function addTextAcl(values: Map<RawName, Buffer>, name: string, text: Buffer | undefined, limits: XattrLimits, refuse: (rule: string) => never): void {
  if (text === undefined || text.length === 0 || values.has(name)) return;
  values.set(name, parseAclText(text.toString('utf8'), limits.aclIds, refuse));
}

/** Sets the ACL to its checked form, or drops one that the mode can hold; returns the mode bits that it gives. */
function applyAccessAcl(values: Map<RawName, Buffer>, type: number, refuse: (rule: string) => never): number | undefined {
  const value = values.get(ACCESS_ACL);
  if (value === undefined) return undefined;
  values.delete(ACCESS_ACL);
  if (type === S_IFLNK || value.length <= 4) return undefined;
  const acl = checkAcl(value, refuse);
  if (acl.extended) values.set(ACCESS_ACL, acl.value);
  return acl.permissions;
}

/** Only folders have a default ACL. */
function applyDefaultAcl(values: Map<RawName, Buffer>, type: number, refuse: (rule: string) => never): void {
  const value = values.get(DEFAULT_ACL);
  if (value === undefined) return;
  values.delete(DEFAULT_ACL);
  if (type === S_IFDIR && value.length > 4) values.set(DEFAULT_ACL, checkAcl(value, refuse).value);
}
