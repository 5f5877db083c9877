import { readFileSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import { replaceFile } from '../store/write-file-durably.js';
import type { Candidate, SkippedFile } from './candidate.js';

/*
 * What the last run found out about one container: docs/formats/link-cache.md. It saves reading, and nothing else depends on it:
 * a cache that is missing, broken or wrong costs a run that reads again, or an offer that the engine turns down.
 */

/** A private file with what is known of its content. */
export interface CachedCandidate extends Candidate {
  ends: string | null;
  hash: string | null;
}

export interface LinkCache {
  /** The engine's mark when the private area was looked at; null: none. */
  readonly mark: string | null;
  /** Which files were looked for. */
  readonly policy: string;
  /** Private files that are left. */
  readonly candidates: readonly CachedCandidate[];
  /** Links that keep their content, with their object. */
  readonly kept: readonly (Candidate & { readonly object: string })[];
  /** Files that were skipped by what the scan says of them. */
  readonly skipped: readonly SkippedFile[];
  /** What its links name, each once: other containers' files may be equal to it. */
  readonly objects: readonly LinkedObject[];
  /** Whether something was in use, and is worth another look although nothing changes. */
  readonly again: boolean;
}

/** An object that a link names. */
export interface LinkedObject {
  readonly object: string;
  readonly sizeBytes: number;
}

const VERSION = 3;

type Row = readonly [inode: number, size: number, allocated: number, seconds: number, nanoseconds: number, partial: 0 | 1, path: string];

function toRow({ inode, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, isPartial, path }: Candidate): Row {
  return [inode, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, isPartial ? 1 : 0, path];
}

function fromRow(container: string, [inode, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, partial, path]: Row): Candidate {
  return { container, inode, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, isPartial: partial === 1, path };
}

interface Stored {
  readonly version: number;
  readonly mark: string | null;
  readonly policy: string;
  readonly again: boolean;
  readonly candidates: readonly (readonly [Row, string | null, string | null])[];
  readonly kept: readonly (readonly [Row, string])[];
  readonly skipped: readonly (readonly [string, string])[];
  readonly objects: readonly (readonly [string, number])[];
}

/** @returns undefined when there is none that can be used */
export function readLinkCache(file: string, container: string): LinkCache | undefined {
  try {
    const stored = JSON.parse(readFileSync(file, 'utf8')) as Stored;
    if (stored.version !== VERSION) return undefined;
    return {
      mark: stored.mark,
      policy: stored.policy,
      again: stored.again,
      candidates: stored.candidates.map(([row, ends, hash]) => ({ ...fromRow(container, row), ends, hash })),
      kept: stored.kept.map(([row, object]) => ({ ...fromRow(container, row), object })),
      skipped: stored.skipped.map(([path, reason]) => ({ container, path, reason })),
      objects: stored.objects.map(([object, sizeBytes]) => ({ object, sizeBytes })),
    };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined || errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw error;
  }
}

export function writeLinkCache(file: string, { mark, policy, candidates, kept, skipped, objects, again }: LinkCache): void {
  const stored: Stored = {
    version: VERSION,
    mark,
    policy,
    again,
    candidates: candidates.map((each) => [toRow(each), each.ends, each.hash]),
    kept: kept.map((each) => [toRow(each), each.object]),
    skipped: skipped.map(({ path, reason }) => [path, reason]),
    objects: [...new Map(objects.map(({ object, sizeBytes }) => [object, sizeBytes]))],
  };
  replaceFile(file, JSON.stringify(stored));
}

/** Takes over what is known of files that are as they were: inode, size and mtime. */
export function withKnownHashes(candidates: readonly Candidate[], cached: readonly CachedCandidate[]): CachedCandidate[] {
  const known = new Map(cached.map((each) => [each.inode, each]));
  return candidates.map((candidate) => {
    const before = known.get(candidate.inode);
    const isSame =
      before !== undefined &&
      before.sizeBytes === candidate.sizeBytes &&
      before.mtimeSeconds === candidate.mtimeSeconds &&
      before.mtimeNanoseconds === candidate.mtimeNanoseconds &&
      before.isPartial === candidate.isPartial;
    // Field by field: of tens of thousands a spread takes several times as long.
    const { container, inode, path, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, isPartial } = candidate;
    const ends = isSame ? before.ends : null;
    const hash = isSame ? before.hash : null;
    return { container, inode, path, sizeBytes, allocatedBytes, mtimeSeconds, mtimeNanoseconds, isPartial, ends, hash };
  });
}
