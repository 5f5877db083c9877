import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, type Stats } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import type { StorePaths } from '../core/store-paths.js';
import { interrupted } from './bad-archive.js';
import { SUM_BYTES, readSums } from './content-sums.js';
import { FULL_HASH_BITS } from './fingerprint.js';
import { listObjects, type ListedObject } from './list-objects.js';
import { formatObjectId, objectPath, type ObjectId } from './object-id.js';
import { objectWorkers, responseError, type ObjectWorker } from './object-workers.js';
import { ScrubPace } from './scrub-pace.js';
import { TreeReader } from './tree-reader.js';
import { verifyTree } from './tree-verify.js';

/** Something in the store that is not as it must be. */
export interface StoreProblem {
  readonly kind: 'object' | 'tree' | 'sums' | 'stray';
  /** The object's id, the tree's digest, or the path of a file that does not belong there. */
  readonly name: string;
  readonly problem: string;
  /** What mends it. */
  readonly repair: string;
  /** `content`: the bytes are wrong; `missing`: there is nothing; `access`: only mode or owner are wrong; `unreadable`: the disk says no. */
  readonly cause?: 'content' | 'missing' | 'access' | 'unreadable';
}

export interface VerifyOptions {
  /** Ends the check with INTERRUPTED. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly checked: number; readonly bytes: number }) => void;
  /** Most bytes that are read in a second; as many as the disk gives if left out. */
  readonly bytesPerSecond?: number;
  /** Told of the SHA-256 of each object that is as it must be. */
  readonly onSum?: (id: ObjectId, sum: Uint8Array) => void;
  /** Told at once of objects whose bytes are wrong or cannot be read; reading goes on when it has settled. */
  readonly onBroken?: (problems: readonly StoreProblem[]) => Promise<void>;
  /** As in `ImportOptions`; only for tests. */
  readonly hashBits?: number;
}

export interface VerifyResult {
  readonly checked: number;
  readonly problems: readonly StoreProblem[];
}

export interface TreesResult extends VerifyResult {
  /** Objects that trees need and that are missing or have another size, with the first of those trees. */
  readonly lost: ReadonlyMap<string, string>;
  /** Trees that are sound and have no sums beside them. */
  readonly withoutSums: readonly string[];
}

const FILES_PER_MESSAGE = 32;
const PROGRESS_MS = 200;
const MEND = 'templatefs verify --repair';
const REIMPORT = 'templatefs verify --repair --source with the archive or folder that the template came from';
const REMOVE = 'look at it, then remove it';

/**
 * Reads every object from the disk and compares its fingerprint with its name, its owner and mode with what they must be.
 * Nothing is changed, and nothing that is broken throws. An object counts as broken only when two reads say so.
 * @throws INTERRUPTED
 */
export async function verifyObjects(paths: StorePaths, options: VerifyOptions = {}): Promise<VerifyResult> {
  const { signal, onProgress, onSum, onBroken, bytesPerSecond = 0, hashBits = FULL_HASH_BITS } = options;
  const problems: StoreProblem[] = [];
  let checked = 0;
  const objects = listObjects(paths);
  const pace = new ScrubPace(bytesPerSecond);
  const stop = (): void => { pace.stop(); };
  const throwIfAborted = (): void => {
    if (signal?.aborted === true) throw interrupted('the check');
  };
  const stopListening = onAbort(signal, stop);
  const report = (): void => { onProgress?.({ checked, bytes: pace.bytesRead }); };
  const timer = setInterval(report, PROGRESS_MS);
  // Each thread takes the next few files whenever it is done with the last.
  let taking: Promise<ListedObject[]> = Promise.resolve([]);
  const takeNext = (): Promise<ListedObject[]> => (taking = taking.then(() => takeFew(objects)));
  const check = async (worker: ObjectWorker): Promise<void> => {
    for (let few = await takeNext(); few.length > 0; few = await takeNext()) {
      throwIfAborted();
      const sound = few.flatMap(({ path, id }) => (describeFile({ path, id }, problems) || id === undefined ? [] : [{ path, id }]));
      const files = sound.map(({ path, id }) => ({ path, hash: id.hash }));
      const response = await worker.request({ kind: 'verify', files, hashBits, pace: pace.memory, bytesPerSecond, withSums: onSum !== undefined });
      throwIfAborted();
      const failure = responseError(response);
      if (failure !== undefined) throw failure;
      const broken: StoreProblem[] = [];
      for (const [index, { hash, sum, error }] of (response.verified ?? []).entries()) {
        const file = sound[index];
        if (file === undefined) continue;
        if (hash === file.id.hash) {
          if (sum !== undefined) onSum?.(file.id, sum);
          continue;
        }
        // A collection of garbage, or another check, may have taken it since it was listed.
        if (lstatSync(file.path, { throwIfNoEntry: false }) === undefined) continue;
        const name = formatObjectId(file.id);
        if (error === undefined) broken.push({ kind: 'object', name, problem: 'its content is not what its name stands for', repair: MEND, cause: 'content' });
        else broken.push({ kind: 'object', name, problem: `it cannot be read: ${error}`, repair: MEND, cause: 'unreadable' });
      }
      problems.push(...broken);
      if (broken.length > 0) await onBroken?.(broken);
      checked += few.filter(({ id }) => id !== undefined).length;
      report();
    }
  };
  try {
    await Promise.all(objectWorkers().map(check));
  } finally {
    clearInterval(timer);
    stopListening();
    pace.stop();
  }
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
    problems.push({ kind: 'object', name, problem: `it cannot be read: ${String(error)}`, repair: MEND, cause: 'unreadable' });
    return true;
  }
  // A collection of garbage may have removed it since it was listed.
  if (stat === undefined) return true;
  const note = (problem: string, cause: NonNullable<StoreProblem['cause']>): unknown =>
    problems.push({ kind: 'object', name, problem, repair: MEND, cause });
  if (!stat.isFile()) {
    note('it is no regular file', 'content');
    return true;
  }
  if (stat.size === 0) note('it is empty', 'content');
  if ((stat.mode & 0o7777) !== 0o400) note(`its mode is ${(stat.mode & 0o7777).toString(8)}, not 400`, 'access');
  if (stat.uid !== 0 || stat.gid !== 0) note(`its owner is ${stat.uid}:${stat.gid}, not 0:0`, 'access');
  return stat.size === 0;
}

/**
 * Checks every tree: its digest, everything that docs/formats/tree-image.md states, that each object it names is there with
 * the right size (the content of objects is what `verifyObjects` checks), and the sums beside it.
 * @throws INTERRUPTED
 */
export async function verifyTrees(paths: StorePaths, options: VerifyOptions = {}): Promise<TreesResult> {
  const problems: StoreProblem[] = [];
  const lost = new Map<string, string>();
  const withoutSums: string[] = [];
  let checked = 0;
  for (const name of await treeNames(paths)) {
    if (options.signal?.aborted === true) throw interrupted('the check');
    if (!/^[0-9a-f]{64}$/.test(name)) {
      problems.push({ kind: 'stray', name: paths.tree(name), problem: 'it is no tree', repair: REMOVE });
      continue;
    }
    const found = await treeProblem(paths, name);
    // A collection of garbage removes a tree before its objects.
    if (lstatSync(paths.tree(name), { throwIfNoEntry: false }) === undefined) continue;
    if (found.fault !== undefined) problems.push({ kind: 'tree', name, ...found.fault });
    for (const id of found.lost) if (!lost.has(id)) lost.set(id, name);
    if (found.fault === undefined) {
      const sums = readSums(paths, name);
      if (sums === undefined) withoutSums.push(name);
      else if (sums === 'broken' || sums.length !== found.objects * SUM_BYTES) {
        problems.push({ kind: 'sums', name, problem: 'its file in sums/ is broken', repair: MEND });
      }
    }
    checked += 1;
    options.onProgress?.({ checked, bytes: 0 });
  }
  return { checked, problems, lost, withoutSums };
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

interface TreeFindings {
  readonly fault?: Fault;
  /** Objects that are missing or have another size. */
  readonly lost: readonly string[];
  /** How many objects it names. */
  readonly objects: number;
}

async function treeProblem(paths: StorePaths, digest: string): Promise<TreeFindings> {
  const file = paths.tree(digest);
  const faulty = (problem: string, repair: string): TreeFindings => ({ fault: { problem, repair }, lost: [], objects: 0 });
  try {
    if (!lstatSync(file).isFile()) return faulty('it is no regular file', REMOVE);
    if ((await digestOf(file)) !== digest) return faulty('its content is not what its name stands for', REIMPORT);
    verifyTree(file);
    return lostObjects(paths, file);
  } catch (error) {
    return faulty(error instanceof TemplatefsError ? error.message : `it cannot be read: ${String(error)}`, REIMPORT);
  }
}

function lostObjects(paths: StorePaths, file: string): TreeFindings {
  const tree = TreeReader.open(file);
  try {
    const lost: string[] = [];
    for (const object of tree.objects()) {
      const stat = lstatSync(objectPath(paths, object), { throwIfNoEntry: false });
      if (stat?.isFile() !== true || stat.size !== object.size) lost.push(formatObjectId(object));
    }
    return { lost, objects: tree.header.objectCount };
  } finally {
    tree.close();
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}
