import { existsSync, rmSync } from 'node:fs';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import type { LinkSettings } from '../core/link-policy.js';
import { findCandidates, type SkippedFile } from '../dedup/candidate.js';
import { KnownObjects } from '../dedup/known-objects.js';
import { readLinkCache, withKnownHashes, writeLinkCache, type CachedCandidate, type LinkCache, type LinkedObject } from '../dedup/link-cache.js';
import { readLinkSummary, writeLinkSummary, type LinkSummary } from '../dedup/link-summary.js';
import { scanPrivateArea } from '../engine/scan.js';
import { parseObjectId } from '../store/object-id.js';
import { printableName } from '../store/raw-names.js';
import { syncFileSystem } from '../store/sync-file-system.js';
import { makeFolder } from '../store/write-file-durably.js';
import { changeMark } from './change-mark.js';
import { lock, openForReading, openForWriting, type ServiceContext } from './context.js';
import { addKnownObjects } from './find-known-objects.js';
import { findContainer } from './find-record.js';
import { linkCandidates, type LinkedFiles, type OpenContainer } from './link-candidates.js';
import { linkPolicyOf, type ContainerLinkPolicy } from './link-policy.js';
import { noteObjectsChange, objectsGeneration } from './object-totals.js';
import { isTemporary } from './temporary-container.js';
import { enterContainer, leaveContainer, type EnteredContainer } from './use-container.js';

export interface LinkContainersOptions {
  /** undefined: all. */
  readonly names?: readonly string[];
  /** Changes nothing, and says what would be done. */
  readonly dryRun?: boolean;
  /** Looks at everything, whatever earlier runs have found out. */
  readonly full?: boolean;
  readonly settings?: LinkSettings;
  /** Bits of fingerprints that count: fewer only in tests. */
  readonly hashBits?: number;
}

export interface LinkedContainers {
  readonly dryRun: boolean;
  readonly containers: number;
  /** Of those, so many in which nothing had changed. */
  readonly unchanged: number;
  readonly adoptedFiles: number;
  readonly mergedFiles: number;
  readonly keptFiles: number;
  readonly addedBytes: number;
  readonly linkedBytes: number;
  readonly savedBytes: number;
  readonly readBytes: number;
  readonly seconds: number;
  readonly skipped: readonly { readonly container: string; readonly path: string; readonly reason: string }[];
  /** Containers that could not be looked at. */
  readonly failed: readonly { readonly container: string; readonly reason: string }[];
}

interface Looked {
  readonly name: string;
  readonly policy: ContainerLinkPolicy;
  readonly mark: string | null;
  readonly candidates: readonly CachedCandidate[];
  readonly kept: LinkCache['kept'];
  readonly skipped: readonly SkippedFile[];
  /** What its links name. */
  readonly objects: readonly LinkedObject[];
  readonly isUnchanged: boolean;
}

const NOTHING: Pick<LinkedFiles, 'adoptedFiles' | 'mergedFiles' | 'keptFiles' | 'addedBytes' | 'linkedBytes' | 'savedBytes' | 'readBytes' | 'skipped' | 'left' | 'kept' | 'objects' | 'again'> = {
  adoptedFiles: 0, mergedFiles: 0, keptFiles: 0, addedBytes: 0, linkedBytes: 0, savedBytes: 0, readBytes: 0, skipped: [], left: [], kept: [], objects: [], again: [],
};

function keyOf({ leastBytes, greatestBytes, paths, leastAgeSeconds }: ContainerLinkPolicy): string {
  return JSON.stringify([leastBytes, greatestBytes, paths, leastAgeSeconds]);
}

/**
 * Makes links of private files that are equal to objects or, across these containers, to one another. Containers that are not
 * mounted are mounted for the time, if there is anything to do in them.
 *
 * @throws CONTAINER_NOT_FOUND, BUSY (another run), NO_SPACE, STORE_NOT_WRITABLE, ENGINE_FAILED, INTERRUPTED, INTEGRITY
 */
export async function linkContainers(context: ServiceContext, options: LinkContainersOptions = {}): Promise<LinkedContainers> {
  const started = performance.now();
  // What killed commands have left unfinished goes first, whole containers among it.
  if (options.dryRun !== true) (await openForWriting(context))[Symbol.dispose]();
  const { names, generation } = lookUp(context, options.names);
  const { paths } = context;
  // A run with weakened fingerprints must not leave them to others.
  const useCache = options.full !== true && options.hashBits === undefined;
  const summary: LinkSummary = useCache ? readLinkSummary(paths.linkSummary) : { generation: -1, containers: {} };
  const marks = new Map<string, string | null>();
  const policies = new Map<string, ContainerLinkPolicy>();
  let isSettled = summary.generation === generation;
  for (const name of names) {
    const mark = await changeMark(paths, name);
    const policy = linkPolicyOf(context, name, options.settings ?? {});
    marks.set(name, mark);
    policies.set(name, policy);
    const before = summary.containers[name];
    isSettled &&= mark !== null && before?.mark === mark && before.policy === keyOf(policy) && !before.again;
  }
  const done = (linked: typeof NOTHING, unchanged: number, skipped: readonly SkippedFile[], failed: LinkedContainers['failed']): LinkedContainers => {
    const { adoptedFiles, mergedFiles, keptFiles, addedBytes, linkedBytes, savedBytes, readBytes } = linked;
    return {
      dryRun: options.dryRun === true,
      containers: names.length,
      unchanged,
      adoptedFiles,
      mergedFiles,
      keptFiles,
      addedBytes,
      linkedBytes,
      savedBytes,
      readBytes,
      seconds: Math.round(performance.now() - started) / 1000,
      skipped: [...skipped, ...linked.skipped].map(({ container, path, reason }) => ({ container, path: printableName(path), reason })),
      failed,
    };
  };
  if (isSettled) return done(NOTHING, names.length, names.flatMap((name) => readLinkCache(paths.linkCache(name), name)?.skipped ?? []), []);
  return new Run(context, options, { names, marks, policies, summary, useCache, done }).run();
}

function lookUp(context: ServiceContext, names: readonly string[] | undefined): { names: readonly string[]; generation: number } {
  using opened = openForReading(context);
  const generation = objectsGeneration(opened.catalog);
  if (names === undefined) return { names: opened.catalog.containers().map(({ name }) => name).filter((name) => !isTemporary(name)), generation };
  return { names: [...new Set(names)].map((name) => findContainer(opened.catalog, name).name), generation };
}

function addLinked(known: KnownObjects, objects: readonly LinkedObject[]): void {
  for (const { object, sizeBytes } of objects) {
    const id = parseObjectId(object);
    if (id !== undefined) known.add(id, sizeBytes);
  }
}

/** Of limits of several containers the one that holds for all; 0 is none. */
function leastLimit(limits: readonly number[]): number {
  const set = limits.filter((limit) => limit > 0);
  return set.length === 0 ? 0 : Math.min(...set);
}

interface RunInput {
  readonly names: readonly string[];
  readonly marks: ReadonlyMap<string, string | null>;
  readonly policies: ReadonlyMap<string, ContainerLinkPolicy>;
  readonly summary: LinkSummary;
  readonly useCache: boolean;
  readonly done: (linked: typeof NOTHING, unchanged: number, skipped: readonly SkippedFile[], failed: LinkedContainers['failed']) => LinkedContainers;
}

class Run {
  readonly #context: ServiceContext;
  readonly #options: LinkContainersOptions;
  readonly #input: RunInput;
  readonly #entered = new Map<string, EnteredContainer | string>();
  readonly #failed: { container: string; reason: string }[] = [];
  #generation = -1;

  constructor(context: ServiceContext, options: LinkContainersOptions, input: RunInput) {
    this.#context = context;
    this.#options = options;
    this.#input = input;
  }

  async run(): Promise<LinkedContainers> {
    using locks = new HeldLocks();
    locks.hold(await lock(this.#context, { name: 'link', what: 'merging', mode: 'exclusive' }));
    // Objects that nothing refers to yet must stay until the links are there: docs/invariants/garbage.md, rule 4.
    locks.hold(await lock(this.#context, { name: 'store', what: 'the store', mode: 'shared' }));
    const known = await this.#knownObjects();
    const looked: Looked[] = [];
    for (const name of this.#input.names) {
      const found = await this.#look(name);
      if (found === undefined) continue;
      looked.push(found);
      addLinked(known, found.objects);
      this.#context.onProgress?.({ step: 'looking at containers', done: looked.length, total: this.#input.names.length, unit: 'items' });
    }
    try {
      const linked = await linkCandidates(this.#context, {
        candidates: looked.flatMap(({ candidates }) => candidates),
        kept: looked.flatMap(({ kept }) => kept),
        adoptNew: false,
        known,
        open: (container) => this.#open(container),
        bytesPerSecond: leastLimit(looked.map(({ policy }) => policy.bytesPerSecond)),
        threads: leastLimit(looked.map(({ policy }) => policy.threads)),
        ...(this.#options.dryRun !== undefined && { dryRun: this.#options.dryRun }),
        ...(this.#options.hashBits !== undefined && { hashBits: this.#options.hashBits }),
      });
      // What is said to be done stays so, and its space is given back, whatever happens to the power.
      if (linked.adoptedFiles + linked.mergedFiles > 0 && this.#options.dryRun !== true) await syncFileSystem(this.#context.paths.privateAreas);
      if (this.#options.dryRun !== true && this.#options.hashBits === undefined) this.#remember(looked, linked);
      return this.#input.done(linked, looked.filter(({ isUnchanged }) => isUnchanged).length, looked.flatMap(({ skipped }) => skipped), this.#failed);
    } finally {
      await this.#leaveAll();
    }
  }

  async #knownObjects(): Promise<KnownObjects> {
    const known = new KnownObjects();
    using opened = this.#options.dryRun === true ? openForReading(this.#context) : await openForWriting(this.#context);
    if (this.#options.dryRun !== true) noteObjectsChange(opened.catalog);
    this.#generation = objectsGeneration(opened.catalog);
    addKnownObjects(this.#context, opened.catalog, known);
    // Of containers that are not asked for, what the last look at them found. Objects that are gone by now are nobody's.
    for (const { name } of opened.catalog.containers()) {
      if (!this.#input.names.includes(name)) addLinked(known, readLinkCache(this.#context.paths.linkCache(name), name)?.objects ?? []);
    }
    return known;
  }

  /** What one container has; from the cache where nothing has changed since. */
  async #look(name: string): Promise<Looked | undefined> {
    const { paths, signal } = this.#context;
    const { marks, policies, useCache } = this.#input;
    const policy = policies.get(name);
    if (policy === undefined) throw new Error(`no policy for ${name}`);
    const cache = useCache ? readLinkCache(paths.linkCache(name), name) : undefined;
    let before = marks.get(name) ?? null;
    if (cache?.mark !== undefined && cache.mark !== null && cache.mark === before && cache.policy === keyOf(policy)) {
      return { name, policy, mark: before, candidates: cache.candidates, kept: cache.kept, skipped: cache.skipped, objects: cache.objects, isUnchanged: true };
    }
    try {
      // Nobody can say whether it has changed: an engine can, the next time.
      if (before === null && this.#options.dryRun !== true && typeof (await this.#open(name)) !== 'string') before = await changeMark(paths, name);
      const records = await scanPrivateArea(paths, name, signal);
      const objects = records.flatMap(({ kind, object, sizeBytes }) => (kind === 'link' && object !== null ? [{ object, sizeBytes }] : []));
      const found = findCandidates(name, records, policy, Date.now() / 1000);
      const candidates = withKnownHashes(found.candidates, cache?.candidates ?? []);
      return { name, policy, mark: before, candidates, kept: found.kept, skipped: found.skipped, objects, isUnchanged: false };
    } catch (error) {
      if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED' || this.#input.names.length === 1) throw error;
      this.#failed.push({ container: name, reason: error.message });
      return undefined;
    }
  }

  async #open(container: string): Promise<OpenContainer | string> {
    let entered = this.#entered.get(container);
    if (entered === undefined) {
      try {
        entered = await enterContainer(this.#context, container);
      } catch (error) {
        if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED' || this.#input.names.length === 1) throw error;
        entered = error.message;
        this.#failed.push({ container, reason: error.message });
      }
      this.#entered.set(container, entered);
    }
    if (typeof entered === 'string') return entered;
    return { root: entered.root, isIdle: existsSync(this.#context.paths.temporaryMount(container)) };
  }

  async #leaveAll(): Promise<void> {
    for (const [container, entered] of this.#entered) {
      if (typeof entered === 'string') continue;
      entered.use.release();
      await leaveContainer(this.#context, container);
    }
  }

  /** For the next run. What cannot be written costs it time, and nothing else. */
  #remember(looked: readonly Looked[], linked: LinkedFiles): void {
    const { paths } = this.#context;
    const containers = { ...this.#input.summary.containers };
    try {
      makeFolder(paths.linkCaches);
      for (const { name, policy, mark, skipped, objects } of looked) {
        const again = linked.again.some(({ container }) => container === name) || skipped.some(({ reason }) => reason === 'written to lately');
        containers[name] = { mark, policy: keyOf(policy), again };
        const own = <File extends { readonly container: string }>(files: readonly File[]): File[] => files.filter(({ container }) => container === name);
        writeLinkCache(paths.linkCache(name), { mark, policy: keyOf(policy), candidates: own(linked.left), kept: own(linked.kept), skipped, objects: [...objects, ...own(linked.objects)], again });
      }
      // A run over some says nothing of what new objects mean to the others.
      const isAll = this.#options.names === undefined;
      const generation = isAll ? this.#generation : this.#input.summary.generation;
      writeLinkSummary(paths.linkSummary, { generation, containers });
    } catch (error) {
      rmSync(paths.linkSummary, { force: true });
      if (!(error instanceof TemplatefsError)) throw error;
      this.#context.onNotice?.(`what was found out is not kept for the next run: ${error.message}`);
    }
  }
}
