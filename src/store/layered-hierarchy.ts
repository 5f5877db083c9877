import { ArchiveHierarchy } from './archive-hierarchy.js';
import { badMember } from './bad-archive.js';
import type { NodeIndex } from './hierarchy.js';
import { isFolder, isSymlink } from './inode-types.js';
import { isValidName, type RawName } from './raw-names.js';
import type { TarMember } from './tar-member.js';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** What AUFS kept for itself in its layers; image-spec reserves the prefix. */
const RESERVED = '.wh..wh.';
/** As the kernel's own limit on symlinks in one path. */
const MAX_SYMLINKS = 40;

/**
 * Puts the layers of an image on top of one another, as image-spec's "Applying Changesets" has it and containerd does it:
 * - `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all that they have in its folder. What the same layer places
 *   there stays, whatever stands first.
 * - A member replaces whatever of another type has its name, also a folder with all that is in it.
 * - Paths go through symlinks of the layers below, as they would for a process whose root the image is, and so never out of it.
 *
 * The rest is as in one archive.
 */
export class LayeredHierarchy extends ArchiveHierarchy {
  /** Nodes from here on are of the current layer. */
  #layerStart = 0;
  /** Folders of layers below that the current layer names, or has something below. */
  readonly #kept = new Set<NodeIndex>();
  /** Names that the current layer gives to files of layers below. */
  readonly #links = new Map<NodeIndex, Set<RawName>>();

  /** What is placed from now on belongs to the next layer. */
  beginLayer(): void {
    this.#layerStart = this.hierarchy.nodeCount;
    this.#kept.clear();
    this.#links.clear();
    // It has to be found for this layer, too.
    this.forgetFolder();
  }

  /** Takes a member that hides others. @returns false for one that is to be placed @throws BAD_ARCHIVE */
  takeMark(member: TarMember): boolean {
    const components = this.split(member, member.path);
    if (components.some((name) => name.startsWith(RESERVED) && name !== OPAQUE)) return true;
    const name = components.pop();
    if (components.some((folder) => folder.startsWith(WHITEOUT))) throw badMember(member, 'it lies below a whiteout');
    if (name === undefined || !name.startsWith(WHITEOUT)) return false;
    const hidden = name.slice(WHITEOUT.length);
    if (name !== OPAQUE && !isValidName(hidden)) throw badMember(member, 'it is a whiteout of no name');
    const folder = this.#follow(member, components, false)?.at(-1);
    // A whiteout of what is not there hides nothing.
    if (folder === undefined || !isFolder(this.hierarchy.mode(folder))) return true;
    this.#hide(folder, name === OPAQUE ? [...this.hierarchy.children(folder).keys()] : [hidden]);
    return true;
  }

  /** Hides what layers below have under names of a folder. Without recursion: paths may be deeper than a stack. */
  #hide(folder: NodeIndex, names: readonly RawName[]): void {
    const { hierarchy } = this;
    const todo = names.map((name) => ({ folder, name }));
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      const node = hierarchy.child(next.folder, next.name);
      if (node === undefined || node >= this.#layerStart || this.#links.get(next.folder)?.has(next.name) === true) continue;
      if (this.#kept.has(node)) {
        for (const name of hierarchy.children(node).keys()) todo.push({ folder: node, name });
      } else {
        this.remove(next.folder, next.name);
      }
    }
  }

  protected override named(folder: NodeIndex): void {
    this.#kept.add(folder);
  }

  protected override linked(parent: NodeIndex, name: RawName): void {
    let names = this.#links.get(parent);
    if (names === undefined) this.#links.set(parent, (names = new Set()));
    names.add(name);
  }

  protected override makeRoom(_member: TarMember, parent: NodeIndex, name: RawName): void {
    this.#links.get(parent)?.delete(name);
    this.remove(parent, name);
  }

  protected override targetOf(member: TarMember, components: readonly RawName[]): NodeIndex {
    const folders = components.slice(0, -1);
    const name = components.at(-1);
    const folder = this.#follow(member, folders, false)?.at(-1);
    const target = name === undefined || folder === undefined || !isFolder(this.hierarchy.mode(folder)) ? undefined : this.hierarchy.child(folder, name);
    if (target === undefined) throw badMember(member, 'it links to a file that does not stand before it in the image');
    return target;
  }

  protected override findParent(member: TarMember, components: readonly RawName[]): NodeIndex {
    const path = this.#follow(member, components, true) ?? [];
    for (const folder of path) if (folder < this.#layerStart) this.#kept.add(folder);
    return path.at(-1) ?? this.hierarchy.root;
  }

  /**
   * The nodes from the root to what a path names, symlinks followed.
   * @param make makes folders that are missing; else undefined is returned when there are any
   */
  #follow(member: TarMember, components: readonly RawName[], make: boolean): NodeIndex[] | undefined {
    const { hierarchy } = this;
    const path: NodeIndex[] = [hierarchy.root];
    const todo = [...components].reverse();
    let symlinks = 0;
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (path.length > 1) path.pop();
        continue;
      }
      const folder = path.at(-1) ?? hierarchy.root;
      if (!isFolder(hierarchy.mode(folder))) {
        if (!make) return undefined;
        throw badMember(member, 'it lies below something that is no folder');
      }
      if (!isValidName(name)) throw badMember(member, 'it lies below a symlink to a name that is too long');
      let child = hierarchy.child(folder, name);
      if (child === undefined) {
        if (!make) return undefined;
        child = this.implyFolder(member, folder, name);
      }
      if (isSymlink(hierarchy.mode(child))) {
        if (++symlinks > MAX_SYMLINKS) throw badMember(member, `it lies below more than ${MAX_SYMLINKS} symlinks`);
        const target = hierarchy.target(child) ?? '';
        if (target.startsWith('/')) path.length = 1;
        todo.push(...target.split('/').reverse());
        continue;
      }
      path.push(child);
    }
    const last = path.at(-1) ?? hierarchy.root;
    if (make && !isFolder(hierarchy.mode(last))) throw badMember(member, 'it lies below something that is no folder');
    return path;
  }
}
