import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { TemplatefsError } from '../core/errors.js';
import { applyMerges, type Merge, type MergeOutcome } from '../dedup/apply-merges.js';
import type { Candidate, SkippedFile } from '../dedup/candidate.js';
import type { CachedCandidate } from '../dedup/link-cache.js';
import type { LinkedFiles, MadeLink } from '../dedup/linked-files.js';
import { fingerprintAll } from '../dedup/fingerprint-candidates.js';
import { objectsOf, type KnownObjects } from '../dedup/known-objects.js';
import { groupByContent, likelyEqual, sharingEnds, sharingSizes, type Group } from '../dedup/plan-links.js';
import { ReadingPace } from '../dedup/reading-pace.js';
import { weakened } from '../store/fingerprint.js';
import { ObjectBatch, type AddFilesOptions } from '../store/object-batch.js';
import { formatObjectId, objectPath, objectPathIn, parseObjectId, type ObjectId } from '../store/object-id.js';
import { WHOLE_AT_ONCE_BYTES, type FileBelow } from '../store/worker-messages.js';
import { SumsOfAreas } from './area-sums.js';
import type { ServiceContext } from './context.js';

/** A container that is mounted for the time. */
export interface OpenContainer {
  readonly root: string;
  /** Whether nobody but this command uses its root: then its engine need not hurry back to serve it. */
  readonly isIdle: boolean;
}

export interface LinkCandidatesOptions {
  /** What is known of their contents is not read again; what is read is noted in them. */
  readonly candidates: readonly CachedCandidate[];
  /** Links that have kept their content. */
  readonly kept: readonly (Candidate & { readonly object: string })[];
  /** Makes objects also of what nobody else has. */
  readonly adoptNew: boolean;
  readonly known: KnownObjects;
  /** Mounts a container, if it is not. It stays so until the caller is done with all. Why not, if it cannot be had. */
  readonly open: (container: string) => Promise<OpenContainer | string>;
  /** Told of a container whose engine has ended, and of which the rest is left alone; may throw. If left out, it is an error. */
  readonly onLost?: (container: string, error: TemplatefsError) => void;
  /** Changes nothing, and says what would be done. */
  readonly dryRun?: boolean;
  /** Bits of fingerprints that count: fewer only in tests. */
  readonly hashBits?: number;
  /** Most bytes read each second; 0: as fast as the disk is. */
  readonly bytesPerSecond?: number;
  /** Most threads that read at once; 0: all. */
  readonly threads?: number;
}

/** What an engine may take of the time of a root that is in use, and of one that is not. */
const BUSY_BUDGET_US = 1_000;
const IDLE_BUDGET_US = 50_000;
const MOST_ENGINES = 4;
/** Contents with one fingerprint that are told apart: with 128 bits there is one. */
const MOST_OBJECTS = 1_000;
/** New objects before the next files are merged: what the run takes of the disk for a while, and two syncs of the file system. */
const ADOPTED_AT_ONCE_BYTES = 512 * 2 ** 20;

interface OpenGroup {
  readonly group: Pick<Group<CachedCandidate>, 'sizeBytes' | 'files'>;
  left: CachedCandidate[];
  readonly objects: ObjectId[];
  tried: number;
}

/** One of a group's files, and the object that it may be equal to. */
interface GroupMerge extends Merge {
  readonly candidate: CachedCandidate;
  readonly open: OpenGroup;
  /** Of the object. */
  readonly id: string;
}

/** Makes links of private files that are equal to objects, or to one another. */
export async function linkCandidates(context: ServiceContext, options: LinkCandidatesOptions): Promise<LinkedFiles> {
  return new Linking(context, options).run();
}

class Linking {
  readonly #context: ServiceContext;
  readonly #options: LinkCandidatesOptions;
  /** Where private files of a container are read. */
  readonly #tops = new Map<string, string>();
  readonly #pace: ReadingPace;
  readonly #skipped: SkippedFile[] = [];
  readonly #again: Candidate[] = [];
  readonly #done = new Set<CachedCandidate>();
  readonly #leftAlone = new Set<CachedCandidate>();
  /** Of which nothing was read: another file that looks the same was. */
  readonly #guessed = new Set<CachedCandidate>();
  /** Of which something has to be read after all. */
  readonly #unsure = new Set<CachedCandidate>();
  readonly #kept: (Candidate & { readonly object: string })[] = [];
  readonly #adopted = new Set<string>();
  readonly #objects: MadeLink[] = [];
  readonly #newObjects = { objects: 0, allocatedBytes: 0 };
  #adoptedFiles = 0;
  #mergedFiles = 0;
  #keptFiles = 0;
  #addedBytes = 0;
  #linkedBytes = 0;
  #savedBytes = 0;
  #readBytes = 0;

  constructor(context: ServiceContext, options: LinkCandidatesOptions) {
    this.#context = context;
    this.#options = options;
    this.#pace = new ReadingPace(options.bytesPerSecond ?? 0);
  }

  async run(): Promise<LinkedFiles> {
    const { dryRun = false, adoptNew, candidates } = this.#options;
    if (dryRun) this.#foretell(await this.#findGroups(candidates, false));
    else {
      await this.#askForKept();
      if (!adoptNew) await this.#linkLikely();
      await this.#link(await this.#findGroups(this.#remaining().filter((each) => !this.#unsure.has(each)), !adoptNew));
      // What looked equal and was not may be equal to something else.
      if (this.#unsure.size > 0) await this.#link(await this.#findGroups(this.#remaining(), false));
    }
    return {
      adoptedFiles: this.#adoptedFiles,
      mergedFiles: this.#mergedFiles,
      keptFiles: this.#keptFiles,
      addedBytes: this.#addedBytes,
      linkedBytes: this.#linkedBytes,
      savedBytes: this.#savedBytes,
      readBytes: this.#readBytes,
      skipped: this.#skipped,
      again: this.#again,
      left: this.#options.candidates.filter((candidate) => !this.#done.has(candidate)),
      kept: this.#kept,
      objects: this.#objects,
      newObjects: this.#newObjects,
    };
  }

  /** Those of which nothing has become of yet. */
  #remaining(): CachedCandidate[] {
    return this.#options.candidates.filter((candidate) => !this.#done.has(candidate) && !this.#leftAlone.has(candidate));
  }

  /**
   * What looks the same in several containers becomes an object with the one time that it is read here; for its fingerprint alone it
   * would be read once more. Of large files that the store may have the fingerprint tells first: to write them in vain takes longer.
   */
  async #linkLikely(): Promise<void> {
    const { known } = this.#options;
    const likely = likelyEqual(this.#options.candidates, isKnown).filter(
      ({ first: { sizeBytes }, others }) => others.length > 0 && (sizeBytes <= WHOLE_AT_ONCE_BYTES || known.ofSize(sizeBytes).length === 0),
    );
    for (const each of likely.flatMap(({ others }) => others)) this.#guessed.add(each);
    let waiting: OpenGroup[] = likely.map(({ first, others }) => ({ group: { sizeBytes: first.sizeBytes, files: [first, ...others] }, left: [first, ...others], objects: [], tried: 0 }));
    while (waiting.length > 0) {
      const chosen = firstBytes(waiting, ADOPTED_AT_ONCE_BYTES);
      waiting = waiting.slice(chosen.length);
      await this.#adopt(chosen, { believesNames: true });
      await this.#merge(chosen.filter(({ objects: { length } }) => length > 0));
    }
  }

  /**
   * Files with equal contents, as far as fingerprints can tell. With `guesses` only one is read of those that look the same in
   * several containers: the engine will read each, and say so if it is different.
   */
  async #findGroups(candidates: readonly CachedCandidate[], guesses: boolean): Promise<Group<CachedCandidate>[]> {
    const { adoptNew, known } = this.#options;
    let wanted: readonly CachedCandidate[] = candidates;
    const others = new Map<CachedCandidate, readonly CachedCandidate[]>();
    if (!adoptNew) {
      wanted = sharingSizes(wanted, (size) => known.ofSize(size));
      if (guesses) {
        wanted = likelyEqual(wanted, isKnown).map((likely) => {
          if (likely.others.length > 0) others.set(likely.first, likely.others);
          return likely.first;
        });
      }
      await this.#fingerprint(wanted, 'ends', 'looking at files');
      const objectEnds = await this.#endsOfObjects(wanted);
      wanted = sharingEnds(
        wanted,
        ({ ends }) => ends ?? undefined,
        (size, text) => objectEnds.has(`${size} ${text}`),
        (candidate) => 1 + (others.get(candidate)?.length ?? 0),
      );
    }
    await this.#fingerprint(wanted, 'whole', 'reading files');
    const groups = groupByContent(wanted, ({ hash }) => hash ?? undefined);
    for (const [first, likely] of others) {
      // Those of a file that could not be read, or has changed, are looked at by themselves.
      for (const each of likely) (first.hash === null ? this.#unsure : this.#guessed).add(each);
    }
    return groups.map(({ files, ...group }) => ({ ...group, files: files.flatMap((file) => [file, ...(others.get(file) ?? [])]) }));
  }

  /** Notes the fingerprints of those that have none yet. */
  async #fingerprint(candidates: readonly CachedCandidate[], what: 'ends' | 'whole', step: string): Promise<void> {
    const unknown: CachedCandidate[] = [];
    const files: FileBelow[] = [];
    for (const candidate of candidates) {
      // A small file was read whole.
      if (what === 'whole' && candidate.sizeBytes <= WHOLE_AT_ONCE_BYTES) candidate.hash ??= candidate.ends;
      if ((what === 'ends' ? candidate.ends : candidate.hash) !== null) continue;
      const top = candidate.isPartial ? await this.#rootFor(candidate) : this.#privateTop(candidate);
      if (top === undefined) continue;
      unknown.push(candidate);
      files.push({ top, path: candidate.path, sizeBytes: candidate.sizeBytes });
    }
    const results = await this.#read(files, what, step);
    for (const [index, candidate] of unknown.entries()) {
      const found = results[index] ?? null;
      if (found === null) this.#skip(candidate, 'changed');
      else if (typeof found !== 'string') this.#skip(candidate, `cannot be read: ${found.error}`);
      else if (what === 'ends') candidate.ends = found;
      else candidate.hash = found;
    }
  }

  async #endsOfObjects(candidates: readonly Candidate[]): Promise<Set<string>> {
    const { known, hashBits } = this.#options;
    const all = [...new Set(candidates.map(({ sizeBytes }) => sizeBytes))].flatMap((size) => known.ofSize(size).map((id) => ({ size, id })));
    // Of small ones the name says it.
    const named = all.filter(({ size }) => size <= WHOLE_AT_ONCE_BYTES).map(({ size, id: { hash } }) => `${size} ${weakened(hash, hashBits)}`);
    const objects = all.filter(({ size }) => size > WHOLE_AT_ONCE_BYTES);
    const top = this.#context.paths.objects;
    const files = objects.map(({ size, id }) => ({ top, path: objectPathIn('', id), sizeBytes: size }));
    const results = await this.#read(files, 'ends', 'looking at objects');
    return new Set([...named, ...objects.flatMap(({ size }, index) => (typeof results[index] === 'string' ? [`${size} ${results[index]}`] : []))]);
  }

  async #read(files: readonly FileBelow[], what: 'ends' | 'whole', step: string): ReturnType<typeof fingerprintAll> {
    const { signal, onProgress } = this.#context;
    const { hashBits, bytesPerSecond, threads } = this.#options;
    const before = this.#readBytes;
    const total = what === 'whole' ? files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) : undefined;
    return fingerprintAll(files, what, {
      ...(hashBits !== undefined && { hashBits }),
      ...(bytesPerSecond !== undefined && { bytesPerSecond }),
      ...(threads !== undefined && { threads }),
      ...(signal !== undefined && { signal }),
      onProgress: (bytes) => {
        this.#readBytes = before + bytes;
        onProgress?.({ step, done: bytes, unit: 'bytes', ...(total !== undefined && { total }) });
      },
    });
  }

  /** Where a candidate is read: in the private area, or through the root, as only its engine knows which bytes are whose. */
  #privateTop({ container }: Candidate): string {
    let top = this.#tops.get(container);
    if (top === undefined) this.#tops.set(container, (top = join(this.#context.paths.privateArea(container), 'root')));
    return top;
  }

  async #rootFor(candidate: CachedCandidate): Promise<string | undefined> {
    const opened = await this.#options.open(candidate.container);
    if (typeof opened !== 'string') return opened.root;
    this.#skip(candidate, opened);
    return undefined;
  }

  #foretell(groups: readonly Group<CachedCandidate>[]): void {
    for (const { files, hash, sizeBytes } of groups) {
      const isThere = objectsOf(this.#context.paths.objects, hash, sizeBytes).length > 0;
      if (!isThere && files.length === 1 && !this.#options.adoptNew) continue;
      if (!isThere) {
        this.#adoptedFiles += 1;
        this.#addedBytes += sizeBytes;
        this.#savedBytes -= files[0]?.allocatedBytes ?? 0;
      }
      this.#mergedFiles += files.length - (isThere ? 0 : 1);
      this.#linkedBytes += sizeBytes * files.length;
      this.#savedBytes += files.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
    }
  }

  async #askForKept(): Promise<void> {
    const merges = this.#options.kept.flatMap((candidate) => {
      const object = parseObjectId(candidate.object);
      return object === undefined ? [] : [{ candidate, object }];
    });
    for (const { merge, outcome } of await this.#apply(merges, 'giving back what was in use')) {
      if (outcome.kind === 'merged') this.#savedBytes += outcome.freedBytes;
      if (outcome.kind === 'kept') {
        this.#again.push(merge.candidate);
        this.#kept.push({ ...merge.candidate, object: formatObjectId(merge.object) });
      }
    }
  }

  /**
   * Round by round: first what the store has, which gives space back and needs none; then new objects, as many at once as their
   * content may take of the disk before it is given back elsewhere. Contents whose fingerprint others have, too, come to their own object
   * in a later round.
   */
  async #link(groups: readonly Group<CachedCandidate>[]): Promise<void> {
    const { objects } = this.#context.paths;
    let open: OpenGroup[] = groups.map((group) => ({ group, left: [...group.files], objects: objectsOf(objects, group.hash, group.sizeBytes), tried: 0 }));
    while (open.length > 0) {
      this.#context.signal?.throwIfAborted();
      let now = open.filter(({ tried, objects: { length } }) => tried < length);
      if (now.length === 0) {
        const least = this.#options.adoptNew ? 1 : 2;
        open = open.filter(({ left, tried }) => left.length >= least && tried < MOST_OBJECTS);
        const chosen = firstBytes(open, ADOPTED_AT_ONCE_BYTES);
        await this.#adopt(chosen);
        now = chosen.filter(({ tried, objects: { length } }) => tried < length);
        // None of their files can be read any more.
        open = open.filter((each) => !chosen.includes(each) || now.includes(each));
      }
      await this.#merge(now);
      open = open.filter(({ left }) => left.length > 0);
    }
  }

  /** Gives each group one more object: the content of one of its files. */
  async #adopt(worth: readonly OpenGroup[], how: Pick<AddFilesOptions, 'believesNames'> = {}): Promise<void> {
    if (worth.length === 0) return;
    const { hashBits } = this.#options;
    const batch = await ObjectBatch.open(this.#context.paths, hashBits === undefined ? {} : { hashBits });
    try {
      const tickets = await this.#stage(batch, worth, how);
      const committed = await batch.commit();
      this.#addedBytes += committed.newBytes;
      for (const { open, ticket } of tickets) {
        const index = committed.objectOf[ticket] ?? 0;
        const object = committed.objects[index];
        if (object === undefined) throw new Error('a ticket without an object');
        // Else the file was changed while it was read: what became of it was tried already.
        if (!open.objects.some(({ hash, variant }) => hash === object.hash && variant === object.variant)) open.objects.push(object);
        if (committed.isNew[index] === true) this.#adopted.add(formatObjectId(object));
        this.#options.known.add(object, open.group.sizeBytes);
      }
      const allocated = committed.objects.reduce((sum, id, index) => sum + (committed.isNew[index] === true ? allocatedBytes(objectPath(this.#context.paths, id)) : 0), 0);
      this.#savedBytes -= allocated;
      this.#newObjects.objects += committed.newObjects;
      this.#newObjects.allocatedBytes += allocated;
    } finally {
      await batch.abandon();
    }
  }

  /** Adds the content of the first file of each group that can still be read. */
  async #stage(batch: ObjectBatch, worth: readonly OpenGroup[], how: Pick<AddFilesOptions, 'believesNames'>): Promise<{ open: OpenGroup; ticket: number }[]> {
    const { signal, onProgress } = this.#context;
    const { bytesPerSecond, threads } = this.#options;
    const total = worth.reduce((sum, { group }) => sum + group.sizeBytes, 0);
    const tickets: { open: OpenGroup; ticket: number }[] = [];
    for (let wanted = worth, before = 0; wanted.length > 0; ) {
      const tried: OpenGroup[] = [];
      const files: FileBelow[] = [];
      for (const open of wanted) {
        const first = await this.#firstToRead(open);
        if (first === undefined) continue;
        const { top, candidate } = first;
        tried.push(open);
        files.push({ top, path: candidate.path, sizeBytes: candidate.sizeBytes });
      }
      const added = await batch.addFiles(files, {
        ...how,
        ...(threads !== undefined && { threads }),
        ...(bytesPerSecond !== undefined && { bytesPerSecond }),
        ...(signal !== undefined && { signal }),
        onProgress: (bytes) => onProgress?.({ step: 'adding objects', done: Math.min(before + bytes, total), total, unit: 'bytes' }),
      });
      wanted = tried.filter((open, index) => {
        const ticket = added[index];
        if (ticket !== undefined) {
          tickets.push({ open, ticket });
          if (how.believesNames === true) this.#readBytes += open.group.sizeBytes;
          before += open.group.sizeBytes;
          return false;
        }
        const candidate = open.left.shift();
        if (candidate !== undefined) this.#skip(candidate, 'changed');
        return true;
      });
    }
    return tickets;
  }

  /** The first file of a group that can be had; undefined: there are not enough left. */
  async #firstToRead({ left }: OpenGroup): Promise<{ top: string; candidate: CachedCandidate } | undefined> {
    const least = this.#options.adoptNew ? 1 : 2;
    while (left.length >= least) {
      const [candidate] = left;
      const top = candidate?.isPartial === true ? await this.#rootFor(candidate) : candidate && this.#privateTop(candidate);
      if (candidate !== undefined && top !== undefined) return { top, candidate };
      left.shift();
    }
    return undefined;
  }

  /** Tries the next object of each group with all files that are left. */
  async #merge(groups: readonly OpenGroup[]): Promise<void> {
    const merges: GroupMerge[] = [];
    for (const open of groups) {
      const object = open.objects[open.tried];
      open.tried += 1;
      if (object === undefined) continue;
      const id = formatObjectId(object);
      for (const candidate of open.left) merges.push({ candidate, object, id, open });
      open.left = [];
    }
    for (const { merge, outcome } of await this.#apply(merges, 'merging')) {
      const { open, candidate, id } = merge;
      if (outcome.kind === 'skipped' && outcome.reason === 'different') {
        if (this.#guessed.delete(candidate)) this.#unsure.add(candidate);
        else open.left.push(candidate);
        // Its content may have changed behind its times.
        candidate.ends = candidate.hash = null;
        continue;
      }
      if (outcome.kind === 'skipped') {
        this.#skip(candidate, outcome.reason);
        continue;
      }
      this.#done.add(candidate);
      const freedBytes = outcome.kind === 'merged' && !candidate.isPartial ? outcome.freedBytes : null;
      this.#objects.push({ container: candidate.container, object: id, sizeBytes: candidate.sizeBytes, freedBytes });
      // The first link to a new object is the file that it was made of, or as good as that.
      if (this.#adopted.delete(id)) this.#adoptedFiles += 1;
      else this.#mergedFiles += 1;
      this.#linkedBytes += merge.candidate.sizeBytes;
      if (outcome.kind === 'merged') this.#savedBytes += outcome.freedBytes;
      else {
        this.#keptFiles += 1;
        this.#again.push(candidate);
        this.#kept.push({ ...candidate, object: id });
      }
    }
  }

  /** Each engine compares in its one thread: as many of them at once as there are processors. More get in each other's way. */
  async #apply<Asked extends Merge>(merges: readonly Asked[], step: string): Promise<{ merge: Asked; outcome: MergeOutcome }[]> {
    const done: { merge: Asked; outcome: MergeOutcome }[] = [];
    const ofContainers = new Map<string, Asked[]>();
    for (const merge of merges) {
      const { container } = merge.candidate;
      const own = ofContainers.get(container);
      if (own === undefined) ofContainers.set(container, [merge]);
      else own.push(merge);
    }
    const waiting = [...ofContainers];
    const note = (merge: Asked, outcome: MergeOutcome): void => {
      done.push({ merge, outcome });
      this.#context.onProgress?.({ step, done: done.length, total: merges.length, unit: 'items' });
    };
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await this.#applyIn(...next, note);
    };
    const threads = this.#options.threads ?? 0;
    const atOnce = Math.min(waiting.length, threads === 0 ? Math.min(availableParallelism(), MOST_ENGINES) : threads);
    const ended = await Promise.allSettled(Array.from({ length: atOnce }, work));
    const failed = ended.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return done;
  }

  async #applyIn<Asked extends Merge>(container: string, merges: readonly Asked[], note: (merge: Asked, outcome: MergeOutcome) => void): Promise<void> {
    const { paths, signal } = this.#context;
    const opened = await this.#options.open(container);
    if (typeof opened === 'string') {
      for (const merge of merges) note(merge, { kind: 'skipped', reason: opened });
      return;
    }
    let done = 0;
    try {
      await applyMerges(merges, {
        socket: paths.controlSocket(container),
        budgetUs: opened.isIdle ? IDLE_BUDGET_US : BUSY_BUDGET_US,
        pace: this.#pace,
        ...(signal !== undefined && { signal }),
        onDone: (merge, outcome) => {
          done += 1;
          note(merge, outcome);
        },
      });
    } catch (error) {
      if (this.#options.onLost === undefined || !(error instanceof TemplatefsError) || error.code !== 'ENGINE_FAILED') throw error;
      this.#options.onLost(container, error);
      for (const merge of merges.slice(done)) note(merge, { kind: 'skipped', reason: error.message });
    } finally {
      // An engine does not count merging as a change.
      new SumsOfAreas(this.#context).forget(container);
    }
  }

  #skip(candidate: CachedCandidate, reason: string): void {
    const { container, path } = candidate;
    this.#skipped.push({ container, path, reason });
    this.#leftAlone.add(candidate);
    if (FOR_GOOD.has(reason)) this.#done.add(candidate);
    else if (reason !== 'has file capabilities') this.#again.push(candidate);
  }
}

function isKnown({ ends, hash }: CachedCandidate): boolean {
  return ends !== null || hash !== null;
}

/** The first groups, until their new objects would take more than so much; at least one. */
function firstBytes(groups: readonly OpenGroup[], most: number): OpenGroup[] {
  let bytes = 0;
  const end = groups.findIndex(({ group: { sizeBytes } }, index) => (bytes += sizeBytes) > most && index > 0);
  return groups.slice(0, end < 0 ? groups.length : end);
}

/** Those of which a next look at the private area says more. */
const FOR_GOOD = new Set(['changed', 'gone', 'deleted', 'not private', 'a link to another object']);

function allocatedBytes(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
}
