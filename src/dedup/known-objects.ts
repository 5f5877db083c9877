import { statSync } from 'node:fs';
import { formatObjectId, objectPathIn, type ObjectId } from '../store/object-id.js';

/** Objects that files may be equal to, by size: those that trees and links name. */
export class KnownObjects {
  /** Some several times: what names them is many. */
  readonly #bySize = new Map<number, ObjectId[]>();

  add(id: ObjectId, size: number): void {
    const ids = this.#bySize.get(size);
    if (ids === undefined) this.#bySize.set(size, [id]);
    else ids.push(id);
  }

  /** Each once. */
  ofSize(size: number): readonly ObjectId[] {
    const ids = this.#bySize.get(size);
    if (ids === undefined || ids.length < 2) return ids ?? [];
    const unique = [...new Map(ids.map((id) => [formatObjectId(id), id])).values()];
    this.#bySize.set(size, unique);
    return unique;
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
