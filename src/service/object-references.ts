import { readContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import { formatObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';
import { containerAreaState, snapshotState } from './area-state.js';
import { SumsOfAreas } from './area-sums.js';
import { openForReading, type ServiceContext } from './context.js';
import { snapshotsInStore } from './list-snapshots.js';

/** Who needs an object. */
export interface ObjectReferences {
  readonly templates: readonly string[];
  readonly containers: readonly string[];
  /** `CT@ID` */
  readonly snapshots: readonly string[];
}

interface Area {
  readonly name: string;
  readonly tree: string;
  readonly objects: ReadonlySet<string>;
}

/**
 * Which objects templates, containers and snapshots need, from their trees and from the objects that links name, which are
 * kept with the sums of private areas. Costs a look at each tree once it is asked for it.
 */
export class ReferencesOfStore {
  readonly #context: ServiceContext;
  readonly #areas: readonly Area[];
  readonly #templates: readonly { readonly name: string; readonly tree: string }[];
  readonly #sizes = new Map<string, ReadonlyMap<string, number>>();

  private constructor(context: ServiceContext, areas: readonly Area[], templates: readonly { readonly name: string; readonly tree: string }[]) {
    this.#context = context;
    this.#areas = areas;
    this.#templates = templates;
  }

  /** @throws BAD_TREE, INTEGRITY, ENGINE_FAILED, BAD_CATALOG, INTERRUPTED */
  static async open(context: ServiceContext): Promise<ReferencesOfStore> {
    const { paths, signal } = context;
    const { containers, templates } = (() => {
      using opened = openForReading(context);
      return { containers: opened.catalog.containers(), templates: opened.catalog.templates() };
    })();
    const snapshots = snapshotsInStore(paths).flatMap((name) => {
      const tree = readContainerFile(paths.containerFile(name))?.tree;
      return tree === undefined ? [] : [{ name, tree }];
    });
    const sums = new SumsOfAreas(context);
    const areas: Area[] = [];
    for (const { name, tree } of [...containers, ...snapshots]) {
      signal?.throwIfAborted();
      try {
        const state = name.includes('@') ? snapshotState(paths, name) : await containerAreaState(paths, name, signal);
        areas.push({ name, tree, objects: new Set(await sums.objectsOf({ name, tree }, state)) });
      } catch (error) {
        // Another command has just removed it.
        if (!(error instanceof TemplatefsError) || error.code !== 'CONTAINER_NOT_FOUND') throw error;
      }
    }
    return new ReferencesOfStore(context, areas, templates);
  }

  get containers(): readonly string[] {
    return this.#areas.flatMap(({ name }) => (name.includes('@') ? [] : [name]));
  }

  /** Objects of a tree with their sizes. @throws BAD_TREE */
  objectsOfTree(digest: string): ReadonlyMap<string, number> {
    let sizes = this.#sizes.get(digest);
    if (sizes === undefined) {
      const tree = TreeReader.open(this.#context.paths.tree(digest));
      try {
        sizes = new Map(Array.from(tree.objects(), (object) => [formatObjectId(object), object.size]));
      } finally {
        tree.close();
      }
      this.#sizes.set(digest, sizes);
    }
    return sizes;
  }

  /** Everybody who needs an object. @throws BAD_TREE */
  of(id: string): ObjectReferences {
    const users = this.#areas.filter(({ tree, objects }) => objects.has(id) || this.objectsOfTree(tree).has(id)).map(({ name }) => name);
    return {
      templates: this.#templates.filter(({ tree }) => this.objectsOfTree(tree).has(id)).map(({ name }) => name),
      containers: users.filter((name) => !name.includes('@')),
      snapshots: users.filter((name) => name.includes('@')),
    };
  }

  /** Whether only one container needs an object: it would go with it. @throws BAD_TREE */
  isOnlyOf(container: string, id: string): boolean {
    if (this.#templates.some(({ tree }) => this.objectsOfTree(tree).has(id))) return false;
    return this.#areas.every(({ name, tree, objects }) => name === container || !(objects.has(id) || this.objectsOfTree(tree).has(id)));
  }

  /** All objects that anybody needs: by how many containers, and their sizes where a tree says. @throws BAD_TREE */
  all(): Map<string, { containers: number; sizeBytes: number | undefined }> {
    const found = new Map<string, { containers: number; sizeBytes: number | undefined }>();
    const add = (id: string, containers: number, sizeBytes: number | undefined): void => {
      const known = found.get(id) ?? { containers: 0, sizeBytes };
      found.set(id, { containers: known.containers + containers, sizeBytes: known.sizeBytes ?? sizeBytes });
    };
    const ofTrees = new Map<string, number>(this.#templates.map(({ tree }) => [tree, 0]));
    for (const { name, tree } of this.#areas) ofTrees.set(tree, (ofTrees.get(tree) ?? 0) + (name.includes('@') ? 0 : 1));
    for (const [tree, containers] of ofTrees) for (const [id, size] of this.objectsOfTree(tree)) add(id, containers, size);
    for (const { name, tree, objects } of this.#areas) {
      for (const id of objects) if (!this.objectsOfTree(tree).has(id)) add(id, name.includes('@') ? 0 : 1, undefined);
    }
    return found;
  }
}
