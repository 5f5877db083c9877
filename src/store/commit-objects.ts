import { SumList } from './content-sums.js';
import type { ObjectReference } from './object-id.js';
import { responseError, type ObjectWorker } from './object-workers.js';
import { stagedSerial, stagedThread, type BatchPlace } from './worker-messages.js';

const CONTENTS_PER_MESSAGE = 1024;

/** The contents of a batch by ticket: columns, because there may be millions. */
export interface StagedContents {
  readonly hashes: string[];
  readonly sizes: number[];
  /** Number of the staged file, or 0. */
  readonly staged: number[];
  /** Variant of an object found in the store, or −1. */
  readonly variants: number[];
  /** SHA-256 of each. */
  readonly sums: SumList;
}

/** What a batch has become. */
export interface CommittedObjects {
  /** Each object once. */
  readonly objects: readonly ObjectReference[];
  /** Of each, whether the store did not have it. */
  readonly isNew: readonly boolean[];
  /** SHA-256 of each object. */
  readonly sums: SumList;
  /** For each ticket the index of its object; meaningless for tickets that were not used. */
  readonly objectOf: Uint32Array;
  /** Objects that the store did not have. */
  readonly newObjects: number;
  readonly newBytes: number;
  /** Objects that the store had. */
  readonly sharedObjects: number;
}

/** Links staged contents into the store and says what object each ticket is. Variants follow the order of tickets. */
export async function linkContents(
  place: BatchPlace,
  contents: StagedContents,
  used: Uint8Array | undefined,
  workers: readonly ObjectWorker[],
): Promise<CommittedObjects> {
  const isUsed = (ticket: number): boolean => used === undefined || used[ticket] === 1;
  const firsts = firstTickets(contents, isUsed);
  const { variants, created } = await linkStaged({ place, contents, workers }, firsts, isUsed);
  const objects: ObjectReference[] = [];
  const sums = new SumList();
  const isNew: boolean[] = [];
  const indexes = new Map<string, number>();
  const objectOf = new Uint32Array(contents.hashes.length);
  for (const [ticket, hash] of contents.hashes.entries()) {
    if (!isUsed(ticket)) continue;
    const first = firsts[ticket] ?? ticket;
    const variant = variants[first] ?? 0;
    const key = variant === 0 ? hash : `${hash}.${variant}`;
    let index = indexes.get(key);
    if (index === undefined) {
      index = objects.push({ hash, variant, size: contents.sizes[ticket] ?? 0 }) - 1;
      sums.set(index, contents.sums.get(ticket));
      isNew.push(false);
      indexes.set(key, index);
    }
    if (created[first] === 1) isNew[index] = true;
    objectOf[ticket] = index;
  }
  const newBytes = objects.reduce((sum, object, index) => sum + (isNew[index] === true ? object.size : 0), 0);
  const newObjects = isNew.filter(Boolean).length;
  return { objects, isNew, sums, objectOf, newObjects, newBytes, sharedObjects: objects.length - newObjects };
}

/** For each ticket the first one that is used and has the same staged file; itself if it has none. */
function firstTickets(contents: StagedContents, isUsed: (ticket: number) => boolean): Uint32Array {
  const firsts = new Uint32Array(contents.staged.length);
  const byThread = new Map<number, number[]>();
  for (const [ticket, staged] of contents.staged.entries()) {
    firsts[ticket] = ticket;
    if (staged === 0 || !isUsed(ticket)) continue;
    let bySerial = byThread.get(stagedThread(staged));
    if (bySerial === undefined) byThread.set(stagedThread(staged), (bySerial = []));
    firsts[ticket] = bySerial[stagedSerial(staged)] ??= ticket;
  }
  return firsts;
}

interface Batch {
  readonly place: BatchPlace;
  readonly contents: StagedContents;
  readonly workers: readonly ObjectWorker[];
}

interface LinkResults {
  /** The variant of each first ticket. */
  readonly variants: Int32Array;
  /** 1 for each first ticket whose object is new. */
  readonly created: Uint8Array;
}

/** All contents of one fingerprint go to one thread, so that its variants come in the order of the tickets. */
async function linkStaged({ place, contents, workers }: Batch, firsts: Uint32Array, isUsed: (ticket: number) => boolean): Promise<LinkResults> {
  const variants = Int32Array.from(contents.variants);
  const created = new Uint8Array(firsts.length);
  const queues: number[][] = workers.map(() => []);
  for (const [ticket, first] of firsts.entries()) {
    if (first !== ticket || contents.staged[ticket] === 0 || !isUsed(ticket)) continue;
    queues[Number.parseInt(contents.hashes[ticket]?.slice(0, 2) ?? '', 16) % workers.length]?.push(ticket);
  }
  await Promise.all(
    workers.map(async (worker, number) => {
      const queue = queues[number] ?? [];
      for (let at = 0; at < queue.length; at += CONTENTS_PER_MESSAGE) {
        const tickets = queue.slice(at, at + CONTENTS_PER_MESSAGE);
        const part = tickets.map((ticket) => ({
          hash: contents.hashes[ticket] ?? '',
          staged: contents.staged[ticket] ?? 0,
          size: contents.sizes[ticket] ?? 0,
          // A copy: the view's whole buffer would be sent.
          sum: new Uint8Array(contents.sums.get(ticket)),
        }));
        const response = await worker.request({ kind: 'link', place, contents: part });
        const error = responseError(response);
        if (error !== undefined) throw error;
        for (const [index, link] of (response.linked ?? []).entries()) {
          const ticket = tickets[index] ?? 0;
          variants[ticket] = link.variant;
          created[ticket] = link.created ? 1 : 0;
        }
      }
    }),
  );
  return { variants, created };
}
