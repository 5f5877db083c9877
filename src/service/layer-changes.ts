import { isFolder } from '../store/inode-types.js';
import { printableName, type RawName } from '../store/raw-names.js';
import type { TreeNode } from '../store/tree-reader.js';
import type { AreaView } from './area-view.js';
import { metadataDiffers, PrivateView, typeName } from './private-view.js';
import { joinPath, modeOf, nameOf, type RootEntry } from './root-view.js';

/*
 * What a container has changed, in the terms of OCI layers: paths that a layer over the container's tree has to hold, and paths that it has to
 * take away. A layer knows no renaming: what was moved is deleted and added, with all that is in it.
 */

/** As containerd calls them; `unmodified` is a folder that stands in the layer for what lies in it. */
export type LayerChangeKind = 'add' | 'modify' | 'delete' | 'unmodified';

export interface LayerChange {
  readonly path: RawName;
  readonly kind: LayerChangeKind;
  readonly type: string;
}

/** One line of `diff --oci`. */
export interface OciChange {
  /** As UTF-8 where it is that; other bytes as `\xNN`. */
  readonly path: string;
  readonly kind: 'add' | 'modify' | 'delete';
  readonly type: string;
}

/** Folders before what is in them, by the bytes of each name. */
function compareWays(a: RawName, b: RawName): number {
  const [left, right] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')];
  return left < right ? -1 : left > right ? 1 : 0;
}

class LayerLook {
  readonly #view: AreaView;
  readonly found = new Map<RawName, LayerChange>();

  constructor(view: AreaView) {
    this.#view = view;
  }

  /** @param base what the tree itself has at this path */
  visit(entry: RootEntry, base: TreeNode | undefined): void {
    const { path, record } = entry;
    // Whatever the container has changed has a record, and so have all folders on the way there.
    if (record === undefined && entry.node.number === base?.number) return;
    this.#add(path, this.#kindOf(entry, base), modeOf(entry));
    if (!isFolder(modeOf(entry))) return;
    const { tree } = this.#view.root;
    const gone = new Map(base !== undefined && isFolder(base.mode) ? Array.from(tree.entries(base), ({ name, child }) => [name, child] as const) : []);
    for (const child of this.#view.root.children(entry)) {
      const name = nameOf(child.path);
      this.visit(child, gone.get(name));
      gone.delete(name);
    }
    for (const [name, child] of gone) this.#add(joinPath(path, name), 'delete', child.mode);
  }

  /** A changed inode that the tree shows under several names is changed under each, also where nothing else is. */
  addOtherNames(): void {
    const { root, records } = this.#view;
    for (const { raw, letter } of new PrivateView(root.tree, records).rawChanges()) {
      const entry = letter === 'D' || this.found.has(raw) ? undefined : root.at(raw);
      if (entry === undefined) continue;
      this.#add(raw, 'modify', modeOf(entry));
      for (let at = raw.lastIndexOf('/'); at > 0; at = raw.lastIndexOf('/', at - 1)) {
        const folder = root.at(raw.slice(0, at));
        if (folder !== undefined && !this.found.has(folder.path)) this.#add(folder.path, 'unmodified', modeOf(folder));
      }
    }
  }

  #kindOf({ record }: RootEntry, base: TreeNode | undefined): LayerChangeKind {
    if (base === undefined) return 'add';
    const isSame = record !== undefined && record.kind === 'merged' && record.origin === base.number && !metadataDiffers(record, base);
    return isSame ? 'unmodified' : 'modify';
  }

  #add(path: RawName, kind: LayerChangeKind, mode: number): void {
    this.found.set(path, { path, kind, type: typeName(mode) });
  }
}

/** All that a layer over a container's tree holds and takes away, in the order of the layer. @throws BAD_TREE */
export function layerChanges(view: AreaView): LayerChange[] {
  const look = new LayerLook(view);
  const top = view.root.at('/');
  if (top !== undefined) look.visit(top, view.root.tree.node(0));
  look.addOtherNames();
  return [...look.found.values()].sort((a, b) => compareWays(a.path, b.path));
}

/** The same for people and scripts, without folders that are as they were. @throws BAD_TREE */
export function ociChanges(view: AreaView): OciChange[] {
  return layerChanges(view).flatMap(({ path, kind, type }) => (kind === 'unmodified' ? [] : [{ path: printableName(path), kind, type }]));
}
