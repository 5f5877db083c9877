import { statSync } from 'node:fs';
import { objectPathIn, type ObjectId } from '../store/object-id.js';

/** Objects that files may be equal to, by size: those that trees and links name. */
export class KnownObjects {
  readonly #bySize = new Map<number, Map<string, ObjectId>>();

  add(id: ObjectId, size: number): void {
    const ids = this.#bySize.get(size) ?? new Map<string, ObjectId>();
    ids.set(`${id.hash}.${id.variant}`, id);
    this.#bySize.set(size, ids);
  }

  ofSize(size: number): readonly ObjectId[] {
    return [...(this.#bySize.get(size)?.values() ?? [])];
  }
}

/** The objects of one fingerprint and size that the store has now. */
export function objectsOf(objects: string, hash: string, size: number): ObjectId[] {
  const found: ObjectId[] = [];
  for (let variant = 0; ; variant += 1) {
    const stat = statSync(objectPathIn(objects, { hash, variant }), { throwIfNoEntry: false });
    if (stat === undefined) return found;
    if (stat.isFile() && stat.size === size) found.push({ hash, variant });
  }
}
