import { existsSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import { severalAtOnce } from '../core/several-at-once.js';
import { findCandidates, type SkippedFile } from '../dedup/candidate.js';
import { KnownObjects } from '../dedup/known-objects.js';
import { readLinkCache, withKnownHashes, writeLinkCache, type CachedCandidate, type LinkCache, type LinkedObject } from '../dedup/link-cache.js';
import { writeLinkSummary } from '../dedup/link-summary.js';
import type { LinkedFiles } from '../dedup/linked-files.js';
import { scanPrivateAreas, type ScanRecord } from '../engine/scan.js';
import { parseObjectId } from '../store/object-id.js';
import { FileSystemWrites } from '../store/file-system-writes.js';
import { makeFolder } from '../store/write-file-durably.js';
import { TreeReader } from '../store/tree-reader.js';
import { containerAreaState, type AreaState } from './area-state.js';
import { SumsOfAreas, sumArea, type CountedArea, type NewLink } from './area-sums.js';
import { changeMark } from './change-mark.js';
import { lock, openForReading, openForWriting, type ServiceContext } from './context.js';
import { addKnownObjects } from './find-known-objects.js';
import { linkCandidates, type OpenContainer } from './link-candidates.js';
import type { LinkContainersOptions, LinkRunInput, LinkRunResult } from './link-containers.js';
import { policyKey, type ContainerLinkPolicy } from './link-policy.js';
import { keepTotalsAfter, noteObjectsChange, objectsGeneration, type ObjectsChange } from './object-totals.js';
import { enterContainer, leaveContainer, type EnteredContainer } from './use-container.js';

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
  /** Its sums, as it was looked at. */
  readonly before?: { readonly state: AreaState; readonly counted: CountedArea };
}

/** A container whose area has to be listed. */
interface Unlisted {
  readonly name: string;
  /** What the last look at it found, with hashes that may still hold. */
  readonly earlier: readonly CachedCandidate[];
}

/** Of one that is being listed, how it was when that began. */
interface Begun {
  readonly earlier: readonly CachedCandidate[];
  readonly mark: string | null;
  readonly state: AreaState;
}

/** Processes that list private areas at once, and the most areas of each: few enough that all end together. */
const MOST_SCANS = 4;
const AREAS_OF_A_SCAN = 8;

function inShares<Item>(items: readonly Item[], most: number): Item[][] {
  const shares: Item[][] = [];
  for (let from = 0; from < items.length; from += most) shares.push(items.slice(from, from + most));
  return shares;
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

/** One run over containers of which some may have changed. */
export class LinkRun {
  readonly #context: ServiceContext;
  readonly #options: LinkContainersOptions;
  readonly #input: LinkRunInput;
  /** Digests of the containers' trees. */
  readonly #trees = new Map<string, string>();
  readonly #entered = new Map<string, EnteredContainer | string>();
  /** Of those, whose engine has ended since. */
  readonly #lost = new Set<string>();
  readonly #failed: { container: string; reason: string }[] = [];
  #generation = -1;
  #change: ObjectsChange | undefined;

  constructor(context: ServiceContext, options: LinkContainersOptions, input: LinkRunInput) {
    this.#context = context;
    this.#options = options;
    this.#input = input;
  }

  async run(): Promise<LinkRunResult> {
    using locks = new HeldLocks();
    locks.hold(await lock(this.#context, { name: 'link', what: 'merging', mode: 'exclusive' }));
    // Objects that nothing refers to yet must stay until the links are there: docs/invariants/garbage.md, rule 4.
    locks.hold(await lock(this.#context, { name: 'store', what: 'the store', mode: 'shared' }));
    const known = await this.#knownObjects();
    using writes = FileSystemWrites.begin(this.#context.paths.privateAreas);
    try {
      const looked = await this.#lookAtAll();
      for (const { objects } of looked) addLinked(known, objects);
      const linked = await linkCandidates(this.#context, {
        candidates: looked.flatMap(({ candidates }) => candidates),
        kept: looked.flatMap(({ kept }) => kept),
        adoptNew: false,
        known,
        open: (container) => this.#open(container),
        onLost: (container, error) => { this.#lose(container, error); },
        bytesPerSecond: leastLimit(looked.map(({ policy }) => policy.bytesPerSecond)),
        threads: leastLimit(looked.map(({ policy }) => policy.threads)),
        ...(this.#options.dryRun !== undefined && { dryRun: this.#options.dryRun }),
        ...(this.#options.hashBits !== undefined && { hashBits: this.#options.hashBits }),
      });
      if (this.#options.dryRun !== true) await this.#finish(looked, linked, writes);
      return { linked, unchanged: looked.filter(({ isUnchanged }) => isUnchanged).length, skipped: looked.flatMap(({ skipped }) => skipped), failed: this.#failed };
    } finally {
      await this.#leaveAll();
    }
  }

  /** What is said to be done stays so, and its space is given back, whatever happens to the power. */
  async #finish(looked: readonly Looked[], linked: LinkedFiles, writes: FileSystemWrites): Promise<void> {
    const { paths } = this.#context;
    const syncing = linked.adoptedFiles + linked.mergedFiles > 0 ? writes.sync() : Promise.resolve();
    const failure = syncing.then(() => undefined, (error: unknown) => ({ error }));
    await this.#keepTotals(linked);
    this.#keepSums(looked, linked);
    if (this.#options.hashBits === undefined) this.#remember(looked, linked);
    const failed = await failure;
    if (failed === undefined) return;
    // Links that are not on the disk may be gone later, behind the marks.
    rmSync(paths.linkCaches, { recursive: true, force: true });
    throw failed.error;
  }

  /** Areas of which the cache does not tell are listed, several by one process, and as many processes at once as there are processors. */
  async #lookAtAll(): Promise<Looked[]> {
    const { names } = this.#input;
    const looked = new Map<string, Looked>();
    const toList: Unlisted[] = [];
    const note = (name: string, found: Looked | undefined): void => {
      if (found !== undefined) looked.set(name, found);
      this.#context.onProgress?.({ step: 'looking at containers', done: looked.size + this.#failed.length, total: names.length, unit: 'items' });
    };
    for (const name of names) {
      const cache = this.#input.useCache ? readLinkCache(this.#context.paths.linkCache(name), name) : undefined;
      const unchanged = cache === undefined ? undefined : this.#unchanged(name, cache);
      if (unchanged === undefined) toList.push({ name, earlier: cache?.candidates ?? [] });
      else note(name, unchanged);
    }
    const lanes = Math.min(MOST_SCANS, availableParallelism());
    const shares = inShares(toList, Math.min(AREAS_OF_A_SCAN, Math.ceil(toList.length / lanes)));
    await severalAtOnce(shares, lanes, (share) => this.#list(share, note));
    return names.flatMap((name) => looked.get(name) ?? []);
  }

  async #knownObjects(): Promise<KnownObjects> {
    const known = new KnownObjects();
    using opened = this.#options.dryRun === true ? openForReading(this.#context) : await openForWriting(this.#context);
    if (this.#options.dryRun !== true) this.#change = noteObjectsChange(opened.catalog);
    this.#generation = objectsGeneration(opened.catalog);
    addKnownObjects(this.#context, opened.catalog, known);
    for (const { name, tree } of opened.catalog.containers()) this.#trees.set(name, tree);
    // Of containers that are not asked for, what the last look at them found. Objects that are gone by now are nobody's.
    for (const { name } of opened.catalog.containers()) {
      if (!this.#input.names.includes(name)) addLinked(known, readLinkCache(this.#context.paths.linkCache(name), name)?.objects ?? []);
    }
    return known;
  }

  #policyOf(name: string): ContainerLinkPolicy {
    const policy = this.#input.policies.get(name);
    if (policy === undefined) throw new Error(`no policy for ${name}`);
    return policy;
  }

  /** What was found in a container the last time, where nothing has changed since. */
  #unchanged(name: string, cache: LinkCache): Looked | undefined {
    const policy = this.#policyOf(name);
    const mark = this.#input.marks.get(name) ?? null;
    if (mark === null || cache.mark !== mark || cache.policy !== policyKey(policy)) return undefined;
    return { name, policy, mark, candidates: cache.candidates, kept: cache.kept, skipped: cache.skipped, objects: cache.objects, isUnchanged: true };
  }

  /** Looks at all entries of some containers. What changes from here on, the next run finds. */
  async #list(areas: readonly Unlisted[], note: (name: string, found: Looked | undefined) => void): Promise<void> {
    const { paths, signal } = this.#context;
    const before = new Map<string, Begun>();
    for (const { name, earlier } of areas) {
      try {
        before.set(name, { earlier, mark: await this.#markOf(name), state: await containerAreaState(paths, name, signal) });
      } catch (error) {
        this.#fail(name, error);
        note(name, undefined);
      }
    }
    await scanPrivateAreas(paths, [...before.keys()], signal, (name, records) => {
      const begun = before.get(name);
      if (begun === undefined) return;
      if (records instanceof TemplatefsError) this.#fail(name, records);
      note(name, records instanceof TemplatefsError ? undefined : this.#lookAt(name, records, begun));
    });
  }

  /** What it had at the beginning. Where nobody could say whether it has changed, an engine can, the next time. */
  async #markOf(name: string): Promise<string | null> {
    const mark = this.#input.marks.get(name) ?? null;
    if (mark !== null || this.#options.dryRun === true || typeof (await this.#open(name)) === 'string') return mark;
    return await changeMark(this.#context.paths, name);
  }

  #lookAt(name: string, records: readonly ScanRecord[], { earlier, mark, state }: Begun): Looked {
    const policy = this.#policyOf(name);
    const objects = records.flatMap(({ kind, object, sizeBytes }) => (kind === 'link' && object !== null ? [{ object, sizeBytes }] : []));
    const { kept, skipped, ...found } = findCandidates(name, records, policy, Date.now() / 1000);
    const candidates = withKnownHashes(found.candidates, earlier);
    const counted = this.#options.dryRun === true ? undefined : this.#sum(name, records);
    return { name, policy, mark, candidates, kept, skipped, objects, isUnchanged: false, ...(counted !== undefined && { before: { state, counted } }) };
  }

  /** Of several containers the others are done. @throws for the only one, and what ends the run */
  #fail(container: string, error: unknown): void {
    if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED' || this.#input.names.length === 1) throw error;
    this.#failed.push({ container, reason: error.message });
  }

  async #open(container: string): Promise<OpenContainer | string> {
    let entered = this.#entered.get(container);
    if (entered === undefined) {
      try {
        entered = await enterContainer(this.#context, container);
      } catch (error) {
        this.#fail(container, error);
        entered = (error as TemplatefsError).message;
      }
      this.#entered.set(container, entered);
    }
    if (typeof entered === 'string') return entered;
    return { root: entered.root, isIdle: existsSync(this.#context.paths.temporaryMount(container)) };
  }

  /** Its engine has ended. What it has merged stays so; no other round asks for it. */
  #lose(container: string, error: TemplatefsError): void {
    if (this.#input.names.length === 1) throw error;
    const entered = this.#entered.get(container);
    if (entered === undefined || typeof entered === 'string') return;
    entered.use.release();
    this.#entered.set(container, error.message);
    this.#lost.add(container);
    this.#failed.push({ container, reason: error.message });
  }

  async #leaveAll(): Promise<void> {
    for (const [container, entered] of this.#entered) {
      if (typeof entered === 'string' && !this.#lost.has(container)) continue;
      if (typeof entered !== 'string') entered.use.release();
      await leaveContainer(this.#context, container);
    }
  }

  /** What statistics would count, while the area's entries are here. @returns undefined where its tree cannot be read: others say so */
  #sum(name: string, records: readonly ScanRecord[]): CountedArea | undefined {
    const digest = this.#trees.get(name);
    if (digest === undefined) return undefined;
    try {
      const tree = TreeReader.open(this.#context.paths.tree(digest));
      try {
        return sumArea(tree, records);
      } finally {
        tree.close();
      }
    } catch (error) {
      if (error instanceof TemplatefsError) return undefined;
      throw error;
    }
  }

  /** So that the statistics after this need not look at the objects again. */
  async #keepTotals({ newObjects }: LinkedFiles): Promise<void> {
    if (this.#change?.before === undefined) return;
    try {
      using opened = await openForWriting(this.#context);
      keepTotalsAfter(this.#change, newObjects, opened.catalog);
    } catch (error) {
      // Then they are counted again.
      if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED') throw error;
    }
  }

  /** So that the statistics after this need not look at the areas again. */
  #keepSums(looked: readonly Looked[], linked: LinkedFiles): void {
    const sums = new SumsOfAreas(this.#context);
    const links = new Map<string, (NewLink | null)[]>();
    for (const { container, object, sizeBytes, freedBytes } of linked.objects) {
      const own = links.get(container) ?? [];
      own.push(freedBytes === null ? null : { object, sizeBytes, freedBytes });
      links.set(container, own);
    }
    for (const { name, before, kept } of looked) {
      const tree = this.#trees.get(name);
      const known = (links.get(name) ?? []).filter((link) => link !== null);
      // Of what gives its space back later, or has now, nobody knows how much.
      if (before === undefined || tree === undefined || kept.length > 0 || known.length !== (links.get(name) ?? []).length) continue;
      sums.keepAfterMerging({ name, tree }, before.state, before.counted, known);
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
        containers[name] = { mark, policy: policyKey(policy), again, skipped: skipped.map(({ path, reason }) => [path, reason]) };
        const own = <File extends { readonly container: string }>(files: readonly File[]): File[] => files.filter(({ container }) => container === name);
        writeLinkCache(paths.linkCache(name), { mark, policy: policyKey(policy), candidates: own(linked.left), kept: own(linked.kept), skipped, objects: [...objects, ...own(linked.objects)], again });
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
