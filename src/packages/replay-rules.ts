import { changeBetween, type AreaChange } from '../store/area-change.js';
import { objectOf, ownContent, withContent, type AreaImage, type ImageEntry, type ImageInode } from '../store/area-image.js';
import { isRegular } from '../store/inode-types.js';
import type { ObjectReference } from '../store/object-id.js';
import type { RawName } from '../store/raw-names.js';
import { isForEverybody, isSecretPath } from './secrets.js';

/*
 * What a transaction has written may be made in other containers only if it is the same in all of them: no secrets, nothing of this one
 * container. These rules decide it; whatever they do not know is a reason to run the package manager there, too.
 */

/** Made anew in each container, the same in both files. Nothing of it is kept. */
const MACHINE_IDS: readonly RawName[] = ['/etc/machine-id', '/var/lib/dbus/machine-id'];
const MACHINE_ID_TEXT = /^[0-9a-f]{32}\n?$/;

/** Where passwords stand as the second of the fields; a locked one is no secret. */
const PASSWORD_FILES = new Set(['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-']);
/** Not for everybody in the container, but the same in all: what programs said, and an index of libraries. */
const LOGS = new Set(['/var/log/apt/term.log', '/var/cache/ldconfig/aux-cache']);
/**
 * What a package manager leaves of its own run, also of a mere plan, and what nobody needs: logs with times or the machine's name in each line, the
 * number under which zypper asks mirrors, and the memory that connections to a database share, which SQLite makes anew for the first one that opens it.
 * They stay in their container.
 */
const OF_ONE_RUN = new Set<RawName>([
  '/var/log/zypper.log', '/var/lib/zypp/AnonymousUniqueId', '/var/log/dnf.log', '/var/log/dnf.librepo.log', '/var/log/dnf.rpm.log', '/var/log/hawkey.log',
  '/usr/lib/sysimage/rpm/rpmdb.sqlite-shm', '/var/lib/rpm/rpmdb.sqlite-shm', '/var/lib/dnf/history.sqlite-shm',
]);
/** debconf keeps answers to questions for passwords here: names without values, as a rule. */
const ANSWERS = new Set(['/var/cache/debconf/passwords.dat', '/var/cache/debconf/passwords.dat-old']);

/** Files that scripts write are small texts; larger ones come out of packages. */
const TEXT_LIMIT_BYTES = 64 * 1024;
const WRITTEN_BY_SCRIPTS = ['/etc/', '/var/'];
/** Of the package manager: they name packages, not containers. */
const NOT_LOOKED_INTO = ['/var/lib/dpkg/', '/var/lib/apt/', '/var/lib/rpm/', '/var/log/', '/var/cache/'];

export interface ReplayRules {
  /** Of the driver. */
  readonly secretPaths: readonly string[];
  /** The container's names: what was written with one of them in it is only for this container. */
  readonly names: readonly string[];
  readonly readObject: (object: ObjectReference) => Buffer;
}

export type ReplayableChange =
  | { readonly kind: 'replayable'; readonly change: AreaChange; readonly makesMachineId: boolean }
  | { readonly kind: 'unique'; readonly path: RawName; readonly why: string };

function isLocked(line: string): boolean {
  return line === '' || /^[^:]*:[!*]*:/.test(line);
}

/** Why a file that is not for everybody, or that is a secret by its name, must not be kept; undefined if it may. */
function secrecy(path: RawName, inode: ImageInode, rules: ReplayRules): string | undefined {
  const isSecret = isSecretPath(path, rules.secretPaths);
  if (inode.size === 0 || (!isSecret && isForEverybody(inode.mode))) return undefined;
  // Its content came with the template or a package.
  if (!isSecret && objectOf(inode) !== undefined) return undefined;
  const content = ownContent(inode)?.toString('latin1');
  if (content === undefined) return 'it may be a secret';
  if (LOGS.has(path)) return undefined;
  if (PASSWORD_FILES.has(path) && content.split('\n').every(isLocked)) return undefined;
  if (ANSWERS.has(path) && !/^Value: *\S/m.test(content)) return undefined;
  return 'it may be a secret';
}

function textOf(inode: ImageInode, rules: ReplayRules): string | undefined {
  if (inode.size > TEXT_LIMIT_BYTES) return undefined;
  const object = objectOf(inode);
  const bytes = object === undefined ? ownContent(inode) : rules.readObject(object);
  return bytes === undefined || bytes.includes(0) ? undefined : bytes.toString('latin1');
}

function isWord(text: string, word: string): boolean {
  return new RegExp(`(?<![A-Za-z0-9_.-])${word.replaceAll(/[^A-Za-z0-9_]/g, '\\$&')}(?![A-Za-z0-9_-])`).test(text);
}

/** What has changed between two states of a private area, if other containers may get the same. */
export function replayableChange(before: AreaImage, after: AreaImage, tree: Parameters<typeof changeBetween>[2], rules: ReplayRules): ReplayableChange {
  const change = changeBetween(before, after, tree);
  const ids = new Map(MACHINE_IDS.flatMap((path) => { const id = machineIdOf(after, path); return id === undefined ? [] : [[path, id] as const]; }));
  const names = [...rules.names, ...ids.values()];
  const makesMachineId = [...ids.keys()].some((path) => change.written.has(path));
  // One that was there before, and now has a copy, cannot be made anew.
  const areNew = [...ids.keys()].every((path) => change.written.has(path)) && new Set(ids.values()).size === 1;
  const entries = new Map<RawName, ImageEntry>(change.after.entries);
  const written = new Map(change.written);
  for (const [path, entry] of change.after.entries) {
    if (!change.written.has(path) || entry.kind === 'whiteout') continue;
    const inode = entry.kind === 'inode' ? entry.inode : change.after.indexed.get(entry.number);
    if (inode === undefined || !isRegular(inode.mode)) continue;
    if (OF_ONE_RUN.has(path) && entry.kind === 'inode') {
      entries.delete(path);
      written.delete(path);
      continue;
    }
    if (areNew && ids.has(path) && entry.kind === 'inode') {
      entries.set(path, { kind: 'inode', inode: withContent(inode, Buffer.alloc(0)) });
      continue;
    }
    const why = secrecy(path, inode, rules);
    if (why !== undefined) return { kind: 'unique', path, why };
    if (!WRITTEN_BY_SCRIPTS.some((folder) => path.startsWith(folder)) || NOT_LOOKED_INTO.some((folder) => path.startsWith(folder))) continue;
    const text = textOf(inode, rules);
    if (text !== undefined && names.some((name) => isWord(text, name))) return { kind: 'unique', path, why: 'it names the container' };
  }
  return { kind: 'replayable', change: { ...change, written, after: { ...change.after, entries } }, makesMachineId };
}

function machineIdOf(image: AreaImage, path: RawName): string | undefined {
  const entry = image.entries.get(path);
  const text = entry?.kind === 'inode' ? ownContent(entry.inode)?.toString('latin1') : undefined;
  return text !== undefined && MACHINE_ID_TEXT.test(text) ? text.trim() : undefined;
}

/** The image with a machine-id in place of the one that was left out. */
export function withMachineId(image: AreaImage, change: AreaChange, id: string): AreaImage {
  const entries = new Map(image.entries);
  for (const path of MACHINE_IDS) {
    const entry = image.entries.get(path);
    if (change.written.has(path) && entry?.kind === 'inode') entries.set(path, { kind: 'inode', inode: withContent(entry.inode, Buffer.from(`${id}\n`)) });
  }
  return { ...image, entries };
}

/** A machine-id is another one in each container, whatever they have in common; and so is what a run leaves. */
export function isOwnOfEach(path: RawName): boolean {
  return MACHINE_IDS.includes(path) || OF_ONE_RUN.has(path);
}
