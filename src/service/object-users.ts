import type { TemplateRecord } from '../catalog/records.js';
import type { StorePaths } from '../core/store-paths.js';
import { formatObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';

/** Which templates need some objects, by object. Trees that cannot be read are passed over. */
export function usersOfObjects(paths: StorePaths, templates: readonly TemplateRecord[], wanted: ReadonlySet<string>): Map<string, TemplateRecord[]> {
  const users = new Map<string, TemplateRecord[]>();
  for (const template of wanted.size === 0 ? [] : templates) {
    try {
      const tree = TreeReader.open(paths.tree(template.tree));
      try {
        for (const object of tree.objects()) {
          const id = formatObjectId(object);
          if (wanted.has(id)) users.set(id, [...(users.get(id) ?? []), template]);
        }
      } finally {
        tree.close();
      }
    } catch {
      // The check of trees names it.
    }
  }
  return users;
}
