import type { ObjectId } from '../store/object-id.js';
import type { Candidate } from './candidate.js';

/*
 * What is worth reading, in steps of which each reads more than the one before: sizes, and what looks the same in several containers,
 * which cost nothing; the ends of files of one size; whole files whose ends are equal. All of it is guesswork that saves
 * time: the engine compares bytes.
 */

/** Files whose contents are believed to be equal. */
export interface Group<File extends Candidate = Candidate> {
  readonly sizeBytes: number;
  readonly hash: string;
  readonly files: readonly File[];
}

/** Candidates whose size another candidate or an object has, too. */
export function sharingSizes<File extends Candidate>(candidates: readonly File[], objectsOfSize: (size: number) => readonly ObjectId[]): File[] {
  const counts = new Map<number, number>();
  for (const { sizeBytes } of candidates) counts.set(sizeBytes, (counts.get(sizeBytes) ?? 0) + 1);
  const worth = new Map<number, boolean>();
  for (const [size, count] of counts) worth.set(size, count > 1 || objectsOfSize(size).length > 0);
  return candidates.filter(({ sizeBytes }) => worth.get(sizeBytes) === true);
}

/** Files that are likely to be equal, before any of them was read. */
export interface LikelyEqual<File extends Candidate = Candidate> {
  readonly first: File;
  readonly others: readonly File[];
}

/**
 * Puts files of several containers together that have one path, size and time of last write: package managers and archives set it,
 * to what it was where the package was made. `isKnown`: of that one the content is known, and need not be guessed.
 */
export function likelyEqual<File extends Candidate>(candidates: readonly File[], isKnown: (candidate: File) => boolean): LikelyEqual<File>[] {
  const found: { first: File; others: File[] }[] = [];
  // Of one path there are few: to compare numbers takes less time than to make a text of them.
  const byPath = new Map<string, { first: File; others: File[] }[]>();
  for (const candidate of candidates) {
    const isGuessed = !candidate.isPartial && !isKnown(candidate);
    const ofPath = isGuessed ? byPath.get(candidate.path) : undefined;
    const known = ofPath?.find(({ first }) => looksLike(first, candidate));
    if (known !== undefined) {
      known.others.push(candidate);
      continue;
    }
    const alone = { first: candidate, others: [] };
    found.push(alone);
    if (ofPath !== undefined) ofPath.push(alone);
    else if (isGuessed) byPath.set(candidate.path, [alone]);
  }
  return found;
}

function looksLike(a: Candidate, b: Candidate): boolean {
  return a.sizeBytes === b.sizeBytes && a.mtimeSeconds === b.mtimeSeconds && a.mtimeNanoseconds === b.mtimeNanoseconds;
}

/** Candidates whose size and ends another candidate or an object has, too. */
export function sharingEnds<File extends Candidate>(
  candidates: readonly File[],
  endsOf: (candidate: File) => string | undefined,
  objectHasEnds: (size: number, ends: string) => boolean,
  /** For how many files each of them stands. */
  weightOf: (candidate: File) => number = () => 1,
): File[] {
  const counts = new Map<string, number>();
  const keys = candidates.map((candidate) => {
    const ends = endsOf(candidate);
    const key = ends === undefined ? undefined : `${candidate.sizeBytes} ${ends}`;
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + weightOf(candidate));
    return { ends, key };
  });
  return candidates.filter((candidate, index) => {
    const { ends, key } = keys[index] ?? {};
    if (ends === undefined || key === undefined) return false;
    return (counts.get(key) ?? 0) > 1 || objectHasEnds(candidate.sizeBytes, ends);
  });
}

/** Files of one size and fingerprint together; those without a fingerprint are left out. */
export function groupByContent<File extends Candidate>(candidates: readonly File[], hashOf: (candidate: File) => string | undefined): Group<File>[] {
  const groups = new Map<string, { sizeBytes: number; hash: string; files: File[] }>();
  for (const candidate of candidates) {
    const hash = hashOf(candidate);
    if (hash === undefined) continue;
    const key = `${candidate.sizeBytes} ${hash}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { sizeBytes: candidate.sizeBytes, hash, files: [candidate] });
    else group.files.push(candidate);
  }
  return [...groups.values()];
}
