import { existsSync, statSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import { residentBytes } from '../engine/resident-bytes.js';
import { formatObjectId, objectPath, parseObjectId, type ObjectId } from '../store/object-id.js';
import { namesIn } from '../store/folder-names.js';
import { printableName } from '../store/raw-names.js';
import { AreaView } from './area-view.js';
import { openForReading, type ServiceContext } from './context.js';
import { ReferencesOfStore, type ObjectReferences } from './object-references.js';
import { isFile } from './root-view.js';
import { join } from 'node:path';

export interface FoundObject extends ObjectReferences {
  readonly object: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly residentBytes: number;
  /** Where the containers have it; null: nobody asked. */
  readonly paths: readonly { readonly container: string; readonly path: string }[] | null;
}

export interface ObjectQuery {
  /** An id, or the first digits of one. */
  readonly id: string;
  /** Looks for all its paths: costs a walk over the roots. */
  readonly paths?: boolean;
}

/** @throws USAGE, FAILED when there is none, or several */
function findObject(context: ServiceContext, text: string): ObjectId {
  const exact = parseObjectId(text);
  if (exact !== undefined && existsSync(objectPath(context.paths, exact))) return exact;
  if (!/^[0-9a-f]{4,32}(\.[0-9]+)?$/.test(text)) {
    throw new TemplatefsError('USAGE', `not the id of an object: ${JSON.stringify(text)}`, { hint: 'write at least the first four of its hex digits; `templatefs explain CT PATH` says them' });
  }
  const found = namesIn(join(context.paths.objects, text.slice(0, 2))).filter((name) => name.startsWith(text.slice(2)));
  const id = parseObjectId(`${text.slice(0, 2)}${found[0] ?? ''}`);
  if (found.length === 1 && id !== undefined) return id;
  throw new TemplatefsError('FAILED', found.length === 0 ? `the store has no object ${text}` : `${found.length} objects of the store begin with ${text}`, {
    hint: found.length === 0 ? 'see which there are with `templatefs stats --top`, or ask with `templatefs explain CT PATH`' : 'write more of its digits',
  });
}

/** Which templates, containers and snapshots need an object. @throws USAGE, FAILED, BAD_TREE, INTEGRITY, ENGINE_FAILED, INTERRUPTED */
export async function queryObject(context: ServiceContext, query: ObjectQuery): Promise<FoundObject> {
  const object = findObject(context, query.id);
  const id = formatObjectId(object);
  const file = objectPath(context.paths, object);
  const references = (await ReferencesOfStore.open(context)).of(id);
  const { size, blocks } = statSync(file);
  const [resident = 0] = await residentBytes([file], context.signal);
  return {
    object: id, file, sizeBytes: size, allocatedBytes: blocks * 512, residentBytes: resident, ...references,
    paths: query.paths === true ? await pathsOf(context, id, references.containers) : null,
  };
}

async function pathsOf(context: ServiceContext, id: string, containers: readonly string[]): Promise<{ container: string; path: string }[]> {
  const records = (() => {
    using opened = openForReading(context);
    return opened.catalog.containers().filter(({ name }) => containers.includes(name));
  })();
  const found: { container: string; path: string }[] = [];
  for (const record of records) {
    context.signal?.throwIfAborted();
    using view = await AreaView.open(context, record);
    const top = view.root.at('/');
    if (top === undefined) continue;
    for (const entry of view.root.walk(top)) {
      if (isFile(entry) && view.objectIdOf(entry) === id) found.push({ container: record.name, path: printableName(entry.path) });
    }
  }
  return found;
}
