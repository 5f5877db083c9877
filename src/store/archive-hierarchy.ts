import { badMember } from './bad-archive.js';
import { Hierarchy, type NodeIndex } from './hierarchy.js';
import { encodeDevice, isDevice, isFolder, isSymlink } from './inode-types.js';
import type { RawName } from './raw-names.js';
import type { TarMember } from './tar-member.js';
import { MAX_NODES, MAX_TARGET_LENGTH } from './tree-format.js';

const MAX_NAME_BYTES = 255;
/** Eight times what one system call can take: deeper trees can be made, but nothing sane does. */
const MAX_PATH_BYTES = 8 * 4096;
/** Nodes that an archive may have unless the caller says otherwise: about 1 GiB of memory while it is imported. */
export const DEFAULT_MAX_ENTRIES = 8_000_000;
/** Names, link targets and xattrs together; they stay in memory until the tree is written. */
const MAX_TEXT_BYTES = 2 ** 29;

/** What a missing parent folder gets. */
const IMPLIED_FOLDER = { mode: 0o040755, uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };

/**
 * Puts the members of an archive into a hierarchy, as unpacking them one after another would, without ever leaving it:
 * - leading slashes, `.` and empty components are dropped; a `..` is refused
 * - nothing is placed through a symlink or below anything that is no folder: refused
 * - a later member replaces an earlier one of the same name; a folder keeps its children and takes the new metadata; a
 *   folder replaces whatever is no folder (as GNU tar does by default, also a symlink to a folder)
 * - something else than a folder replaces an empty folder, and is refused over one that has children
 * - a hard link needs a target that stands earlier in the archive and is no folder
 * @see docs/decisions/0002-own-tar-reader.md
 */
export class ArchiveHierarchy {
  readonly hierarchy = new Hierarchy(IMPLIED_FOLDER);
  readonly #maxEntries: number;
  #entries = 1;
  #textBytes = 0;
  #lastFolderPath: RawName | undefined;
  #lastFolder: NodeIndex = 0;

  constructor(maxEntries: number = DEFAULT_MAX_ENTRIES) {
    this.#maxEntries = Math.min(maxEntries, MAX_NODES);
  }

  /** Places a member. Returns its node, whose content (if it is a regular file) the caller sets. @throws BAD_ARCHIVE */
  place(member: TarMember): NodeIndex {
    const components = this.split(member, member.path);
    const name = components.pop();
    const { hierarchy } = this;
    if (name === undefined) return this.#placeRoot(member);
    const parent = this.parentOf(member, components);
    const existing = hierarchy.child(parent, name);
    if (member.kind === 'link') return this.#placeLink(member, parent, name, existing);
    if (isFolder(member.mode) && existing !== undefined && isFolder(hierarchy.mode(existing))) {
      this.#setMetadata(existing, member);
      this.named?.(existing);
      return existing;
    }
    if (existing !== undefined) this.makeRoom(member, parent, name, existing);
    const node = hierarchy.addNode(metadataOf(member));
    if (isSymlink(member.mode)) this.#setTarget(node, member);
    this.#setMetadata(node, member);
    this.#setName(member, parent, name, node);
    return node;
  }

  #placeRoot(member: TarMember): NodeIndex {
    if (member.kind === 'link' || !isFolder(member.mode)) throw badMember(member, 'the root can only be a folder');
    this.#setMetadata(this.hierarchy.root, member);
    return this.hierarchy.root;
  }

  #placeLink(member: TarMember, parent: NodeIndex, name: RawName, existing: NodeIndex | undefined): NodeIndex {
    const target = this.targetOf(member, this.split(member, member.target));
    if (isFolder(this.hierarchy.mode(target))) throw badMember(member, 'it is a hard link to a folder');
    if (existing !== target) {
      if (existing !== undefined) this.makeRoom(member, parent, name, existing);
      this.#setName(member, parent, name, target);
    }
    this.linked?.(parent, name);
    return target;
  }

  /** The node that a hard link names. */
  protected targetOf(member: TarMember, components: readonly RawName[]): NodeIndex {
    let target: NodeIndex | undefined = this.hierarchy.root;
    for (const component of components) {
      if (isSymlink(this.hierarchy.mode(target))) throw badMember(member, 'it links to a file through a symlink');
      target = this.hierarchy.child(target, component);
      if (target === undefined) throw badMember(member, 'it links to a file that does not stand before it in the archive');
    }
    return target;
  }

  /** Takes away what has the name of a member that is to be placed. */
  protected makeRoom(member: TarMember, parent: NodeIndex, name: RawName, existing: NodeIndex): void {
    if (isFolder(this.hierarchy.mode(existing)) && this.hierarchy.children(existing).size > 0) throw badMember(member, 'it would replace a folder that is not empty');
    this.remove(parent, name);
  }

  /** Told of a folder that was there and is named by a member. */
  protected named?(folder: NodeIndex): void;

  /** Told of the name of a hard link. */
  protected linked?(parent: NodeIndex, name: RawName): void;

  protected remove(parent: NodeIndex, name: RawName): void {
    this.forgetFolder();
    this.hierarchy.removeChild(parent, name);
  }

  /** The next member's folder is looked up anew. */
  protected forgetFolder(): void {
    this.#lastFolderPath = undefined;
  }

  #setName(member: TarMember, parent: NodeIndex, name: RawName, node: NodeIndex): void {
    // Entries that were replaced count too: what they were stays in memory.
    this.#entries += 1;
    if (this.#entries > this.#maxEntries) throw badMember(member, `the archive has more than ${this.#maxEntries} entries`);
    this.#addText(member, name.length);
    this.hierarchy.setChild(parent, ownString(name), node);
  }

  #setMetadata(node: NodeIndex, member: TarMember): void {
    this.hierarchy.setMetadata(node, metadataOf(member));
    const before = this.hierarchy.xattrBytes;
    this.hierarchy.setXattrs(node, member.xattrs);
    this.#addText(member, this.hierarchy.xattrBytes - before);
  }

  #setTarget(node: NodeIndex, member: TarMember): void {
    const { target } = member;
    if (target.length === 0 || target.length > MAX_TARGET_LENGTH) throw badMember(member, `its target has ${target.length} bytes`);
    if (target.includes('\0')) throw badMember(member, 'its target holds a NUL');
    this.#addText(member, target.length);
    this.hierarchy.setTarget(node, ownString(target));
  }

  #addText(member: TarMember, bytes: number): void {
    this.#textBytes += bytes;
    if (this.#textBytes > MAX_TEXT_BYTES) throw badMember(member, 'the archive has more than 512 MiB of names, link targets and xattrs');
  }

  /** The folder that a path's components name; what is missing of it is made. */
  protected parentOf(member: TarMember, components: readonly RawName[]): NodeIndex {
    const path = components.join('/');
    // Archives list folder by folder, so most members lie where the one before lay.
    if (path === this.#lastFolderPath) return this.#lastFolder;
    const folder = this.findParent(member, components);
    this.#lastFolderPath = path;
    this.#lastFolder = folder;
    return folder;
  }

  /** The same without the memory of the last one. */
  protected findParent(member: TarMember, components: readonly RawName[]): NodeIndex {
    let folder = this.hierarchy.root;
    for (const name of components) {
      const child = this.hierarchy.child(folder, name) ?? this.implyFolder(member, folder, name);
      if (isSymlink(this.hierarchy.mode(child))) throw badMember(member, 'it lies below a symlink');
      if (!isFolder(this.hierarchy.mode(child))) throw badMember(member, 'it lies below something that is no folder');
      folder = child;
    }
    return folder;
  }

  /** Makes a folder that no member has named yet. */
  protected implyFolder(member: TarMember, parent: NodeIndex, name: RawName): NodeIndex {
    const folder = this.hierarchy.addNode(IMPLIED_FOLDER);
    this.#setName(member, parent, name, folder);
    return folder;
  }

  /** A path's names, cleaned and checked. */
  protected split(member: TarMember, path: RawName): RawName[] {
    if (path.length === 0) throw badMember(member, 'it has no name');
    if (path.length > MAX_PATH_BYTES) throw badMember(member, `its path has ${path.length} bytes, more than ${MAX_PATH_BYTES}`);
    if (path.includes('\0')) throw badMember(member, 'its path holds a NUL');
    const components = path.split('/').filter((component) => component !== '' && component !== '.');
    for (const component of components) {
      if (component === '..') throw badMember(member, 'its path holds ".."');
      if (component.length > MAX_NAME_BYTES) throw badMember(member, `its path holds a name of ${component.length} bytes, more than 255`);
    }
    return components;
  }
}

/** A part of a path keeps the whole path in memory, and a PAX header with it; a copy keeps only itself. */
function ownString(part: RawName): RawName {
  return Buffer.from(part, 'latin1').toString('latin1');
}

function metadataOf(member: TarMember): Parameters<Hierarchy['addNode']>[0] {
  const rdev = isDevice(member.mode) ? encodeDevice(member.major, member.minor) : 0;
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = member;
  return { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, rdev };
}
