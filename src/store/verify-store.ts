import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, type Stats } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { interrupted } from './bad-archive.js';
import { FULL_HASH_BITS } from './fingerprint.js';
import { listObjects, type ListedObject } from './list-objects.js';
import { formatObjectId, objectPath, type ObjectId } from './object-id.js';
import { objectWorkers, responseError } from './object-workers.js';
import { TreeReader } from './tree-reader.js';
import { verifyTree } from './tree-verify.js';

/** Something in the store that is not as it must be. */
export interface StoreProblem {
  readonly kind: 'object' | 'tree' | 'stray';
  /** The object's id, the tree's digest, or the path of a file that does not belong there. */
  readonly name: string;
  readonly problem: string;
  /** What mends it. */
  readonly repair: string;
}

export interface VerifyOptions {
  /** Ends the check with INTERRUPTED. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly checked: number }) => void;
  /** As in `ImportOptions`; only for tests. */
  readonly hashBits?: number;
}

export interface VerifyResult {
  readonly checked: number;
  readonly problems: readonly StoreProblem[];
}

const FILES_PER_MESSAGE = 32;
const REIMPORT = 'import the templates that use it again';
const REMOVE = 'look at it, then remove it';

/**
 * Reads every object and compares its fingerprint with its name, its owner and mode with what they must be. Nothing is
 * changed, and nothing that is broken throws.
 * @throws INTERRUPTED
 */
export async function verifyObjects(paths: StorePaths, options: VerifyOptions = {}): Promise<VerifyResult> {
  const problems: StoreProblem[] = [];
  let checked = 0;
  const objects = listObjects(paths);
  // Each thread takes the next few files whenever it is done with the last.
  let taking: Promise<ListedObject[]> = Promise.resolve([]);
  const takeNext = (): Promise<ListedObject[]> => (taking = taking.then(() => takeFew(objects)));
  await Promise.all(
    objectWorkers().map(async (worker) => {
      for (let few = await takeNext(); few.length > 0; few = await takeNext()) {
        if (options.signal?.aborted === true) throw interrupted('the check');
        const sound = few.filter((object) => !describeFile(object, problems));
        const files = sound.map(({ path }) => path);
        const response = await worker.request({ kind: 'verify', files, hashBits: options.hashBits ?? FULL_HASH_BITS });
        const failure = responseError(response);
        if (failure !== undefined) throw failure;
        for (const [index, { hash, error }] of (response.verified ?? []).entries()) {
          const id = sound[index]?.id;
          if (id === undefined || hash === id.hash) continue;
          const problem = error === undefined ? 'its content is not what its name stands for' : `it cannot be read: ${error}`;
          problems.push({ kind: 'object', name: formatObjectId(id), problem, repair: REIMPORT });
        }
        checked += few.filter(({ id }) => id !== undefined).length;
        options.onProgress?.({ checked });
      }
    }),
  );
  return { checked, problems: problems.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

async function takeFew(objects: AsyncGenerator<ListedObject>): Promise<ListedObject[]> {
  const few: ListedObject[] = [];
  while (few.length < FILES_PER_MESSAGE) {
    const next = await objects.next();
    if (next.done === true) break;
    few.push(next.value);
  }
  return few;
}

/** Notes what is wrong with a file before its content is read; returns whether reading makes no sense. */
function describeFile({ path, id }: ListedObject, problems: StoreProblem[]): boolean {
  if (id === undefined) {
    problems.push({ kind: 'stray', name: path, problem: 'it is no object', repair: REMOVE });
    return true;
  }
  const name = formatObjectId(id);
  let stat: Stats | undefined;
  try {
    stat = lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    problems.push({ kind: 'object', name, problem: `it cannot be read: ${String(error)}`, repair: REIMPORT });
    return true;
  }
  // A collection of garbage may have removed it since it was listed.
  if (stat === undefined) return true;
  const note = (problem: string, repair: string): unknown => problems.push({ kind: 'object', name, problem, repair });
  if (!stat.isFile()) {
    note('it is no regular file', REMOVE);
    return true;
  }
  if (stat.size === 0) note('it is empty', REIMPORT);
  if ((stat.mode & 0o7777) !== 0o400) note(`its mode is ${(stat.mode & 0o7777).toString(8)}, not 400`, `chmod 400 ${path}`);
  if (stat.uid !== 0 || stat.gid !== 0) note(`its owner is ${stat.uid}:${stat.gid}, not 0:0`, `chown 0:0 ${path}`);
  return stat.size === 0;
}

/**
 * Checks every tree: its digest, everything that docs/formats/tree-image.md states, and that each object it names is
 * there with the right size (the content of objects is what `verifyObjects` checks).
 * @throws INTERRUPTED
 */
export async function verifyTrees(paths: StorePaths, options: VerifyOptions = {}): Promise<VerifyResult> {
  const problems: StoreProblem[] = [];
  let checked = 0;
  for (const name of await treeNames(paths)) {
    if (options.signal?.aborted === true) throw interrupted('the check');
    if (!/^[0-9a-f]{64}$/.test(name)) {
      problems.push({ kind: 'stray', name: paths.tree(name), problem: 'it is no tree', repair: REMOVE });
      continue;
    }
    const problem = await treeProblem(paths, name);
    if (problem !== undefined) problems.push({ kind: 'tree', name, ...problem });
    checked += 1;
    options.onProgress?.({ checked });
  }
  return { checked, problems };
}

/** Digests of all trees, and whatever else lies there, sorted. */
async function treeNames(paths: StorePaths): Promise<string[]> {
  try {
    return (await readdir(paths.trees)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

type Fault = Pick<StoreProblem, 'problem' | 'repair'>;

async function treeProblem(paths: StorePaths, digest: string): Promise<Fault | undefined> {
  const file = paths.tree(digest);
  const repair = 'import its template again';
  try {
    if (!lstatSync(file).isFile()) return { problem: 'it is no regular file', repair: REMOVE };
    if ((await digestOf(file)) !== digest) return { problem: 'its content is not what its name stands for', repair };
    verifyTree(file);
    return objectsProblem(paths, file);
  } catch (error) {
    const reason = error instanceof TemplatefsError ? error.message : `it cannot be read: ${String(error)}`;
    return { problem: reason, repair };
  }
}

function objectsProblem(paths: StorePaths, file: string): Fault | undefined {
  const tree = TreeReader.open(file);
  try {
    let missing = 0;
    let first: ObjectId | undefined;
    for (const object of tree.objects()) {
      const stat = lstatSync(objectPath(paths, object), { throwIfNoEntry: false });
      if (stat?.isFile() === true && stat.size === object.size) continue;
      missing += 1;
      first ??= object;
    }
    if (first === undefined) return undefined;
    return { problem: `${missing} of its objects are missing or have another size, the first is ${formatObjectId(first)}`, repair: 'import its template again' };
  } finally {
    tree.close();
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}
