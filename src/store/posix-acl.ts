/** POSIX ACLs: the text that tar archives hold, and the xattr form of the kernel (linux/posix_acl_xattr.h). */

const VERSION = 2;
const USER_OBJ = 0x01;
const USER = 0x02;
const GROUP_OBJ = 0x04;
const GROUP = 0x08;
const MASK = 0x10;
const OTHER = 0x20;
const UNDEFINED_ID = 0xffff_ffff;
const MAX_ENTRIES = 8191;

interface AclEntry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

/** Names of users and groups that an archive's ACLs may use instead of numbers. */
export interface AclIds {
  readonly users: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<string, number>;
}

export const NO_ACL_IDS: AclIds = { users: new Map(), groups: new Map() };

/**
 * Reads ACL text as star, GNU tar and bsdtar write it: entries separated by commas or newlines, `user:NAME:rwx`, the
 * number after a fourth colon or in place of the name.
 * @param refuse called with what is wrong, so also with a name that has no number
 */
export function parseAclText(text: string, ids: AclIds, refuse: (rule: string) => never): Buffer {
  const entries: AclEntry[] = [];
  for (const line of text.split(/[,\n]/)) {
    const entry = line.replace(/#.*/, '').trim();
    if (entry !== '') entries.push(parseEntry(entry, ids, refuse));
  }
  return encodeAcl(entries);
}

function parseEntry(entry: string, ids: AclIds, refuse: (rule: string) => never): AclEntry {
  const [kind = '', name = '', access = '', number = ''] = entry.split(':').map((part) => part.trim());
  // `other:r--` and `mask:r-x` leave the empty name out.
  const short = (kind === 'o' || kind === 'other' || kind === 'm' || kind === 'mask') && access === '';
  const letters = short ? name : access;
  if (!/^[r-][w-][x-]$/.test(letters)) refuse(`ACL entry ${JSON.stringify(entry)} has no valid permissions`);
  const permissions = (letters[0] === 'r' ? 4 : 0) | (letters[1] === 'w' ? 2 : 0) | (letters[2] === 'x' ? 1 : 0);
  const qualifier = short ? '' : name;
  const idOf = (known: ReadonlyMap<string, number>): number => {
    const digits = [number, qualifier].find((text) => /^[0-9]{1,10}$/.test(text));
    const id = digits === undefined ? known.get(qualifier) : Number(digits);
    if (id === undefined) refuse(`ACL entry ${JSON.stringify(entry)} names someone by name; only numbers say who that is`);
    if (id >= UNDEFINED_ID) refuse(`ACL entry ${JSON.stringify(entry)} has a number that is too large`);
    return id;
  };
  switch (kind) {
    case 'u':
    case 'user':
      return qualifier === '' ? { tag: USER_OBJ, permissions, id: UNDEFINED_ID } : { tag: USER, permissions, id: idOf(ids.users) };
    case 'g':
    case 'group':
      return qualifier === '' ? { tag: GROUP_OBJ, permissions, id: UNDEFINED_ID } : { tag: GROUP, permissions, id: idOf(ids.groups) };
    case 'm':
    case 'mask':
      return { tag: MASK, permissions, id: UNDEFINED_ID };
    case 'o':
    case 'other':
      return { tag: OTHER, permissions, id: UNDEFINED_ID };
    default:
      return refuse(`ACL entry ${JSON.stringify(entry)} is of no known kind`);
  }
}

function encodeAcl(entries: readonly AclEntry[]): Buffer {
  const sorted = entries.toSorted((a, b) => a.tag - b.tag || a.id - b.id);
  const acl = Buffer.alloc(4 + sorted.length * 8);
  acl.writeUInt32LE(VERSION, 0);
  for (const [index, { tag, permissions, id }] of sorted.entries()) {
    acl.writeUInt16LE(tag, 4 + index * 8);
    acl.writeUInt16LE(permissions, 6 + index * 8);
    acl.writeUInt32LE(id, 8 + index * 8);
  }
  return acl;
}

/** A valid ACL, as the kernel would take it. */
export interface CheckedAcl {
  /** The sorted ACL. */
  readonly value: Buffer;
  /** Whether it says more than the nine permission bits can. An access ACL that does not is none. */
  readonly extended: boolean;
  /** The nine permission bits that the ACL gives the mode; its group bits are those of the mask. */
  readonly permissions: number;
}

/** Checks an ACL by the rules of the kernel's posix_acl_valid. @param refuse called with what is wrong */
export function checkAcl(acl: Buffer, refuse: (rule: string) => never): CheckedAcl {
  const entries = decodeAcl(acl, refuse);
  const seen = new Set<string>();
  for (const { tag, permissions, id } of entries) {
    const key = tag === USER || tag === GROUP ? `${tag}:${id}` : `${tag}`;
    if (seen.has(key)) refuse('an ACL has an entry twice');
    if (permissions > 7) refuse('an ACL has permissions that are none');
    seen.add(key);
  }
  const named = entries.some(({ tag }) => tag === USER || tag === GROUP);
  if (!seen.has(`${USER_OBJ}`) || !seen.has(`${GROUP_OBJ}`) || !seen.has(`${OTHER}`)) refuse('an ACL lacks owner, group or others');
  if (named && !seen.has(`${MASK}`)) refuse('an ACL lacks its mask');
  const of = (tag: number): number | undefined => entries.find((entry) => entry.tag === tag)?.permissions;
  const group = of(MASK) ?? of(GROUP_OBJ) ?? 0;
  const permissions = ((of(USER_OBJ) ?? 0) << 6) | (group << 3) | (of(OTHER) ?? 0);
  return { value: encodeAcl(entries), extended: named || seen.has(`${MASK}`), permissions };
}

function decodeAcl(acl: Buffer, refuse: (rule: string) => never): AclEntry[] {
  const count = (acl.length - 4) / 8;
  if (acl.length < 4 || acl.readUInt32LE(0) !== VERSION || !Number.isInteger(count) || count > MAX_ENTRIES) refuse('an ACL is broken');
  return Array.from({ length: count }, (_, index) => {
    const tag = acl.readUInt16LE(4 + index * 8);
    if (![USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER].includes(tag)) refuse('an ACL has an entry of no known kind');
    const id = tag === USER || tag === GROUP ? acl.readUInt32LE(8 + index * 8) : UNDEFINED_ID;
    return { tag, permissions: acl.readUInt16LE(6 + index * 8), id };
  });
}
