import type { Catalog } from '../catalog/catalog.js';
import type { KnownObjects } from '../dedup/known-objects.js';
import { TreeReader } from '../store/tree-reader.js';
import type { ServiceContext } from './context.js';

/** Adds the objects of all trees that the catalog knows. Trees that cannot be read are passed over: `verify` names them. */
export function addKnownObjects(context: ServiceContext, catalog: Catalog, known: KnownObjects): void {
  const trees = new Set([...catalog.templates(), ...catalog.containers()].map(({ tree }) => tree));
  for (const tree of trees) {
    try {
      const reader = TreeReader.open(context.paths.tree(tree));
      try {
        for (const { hash, variant, size } of reader.objects()) known.add({ hash, variant }, size);
      } finally {
        reader.close();
      }
    } catch {
      continue;
    }
  }
}
