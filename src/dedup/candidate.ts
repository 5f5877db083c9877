import type { ScanRecord } from '../engine/scan.js';
import { isRegular } from '../store/inode-types.js';
import type { RawName } from '../store/raw-names.js';

/** A private file that may become a link. */
export interface Candidate {
  readonly container: string;
  /** What the container sees as `st_ino`. */
  readonly inode: number;
  /** One of its names. */
  readonly path: RawName;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Whether a part of its content is an object's already: it can be read through the root only. */
  readonly isPartial: boolean;
}

/** Which files are looked at. */
export interface LinkPolicy {
  readonly leastBytes: number;
  /** null: no limit. */
  readonly greatestBytes: number | null;
  /** Absolute paths, as raw names; null: all. */
  readonly paths: readonly RawName[] | null;
  /** So long a file must not have been written to. */
  readonly leastAgeSeconds: number;
  /** Left alone, and not told of: secrets, and what is none of a command's business. Asked of each name of a file. */
  readonly isKeptPrivate?: (record: ScanRecord) => boolean;
}

export const DEFAULT_POLICY: LinkPolicy = { leastBytes: 1, greatestBytes: null, paths: null, leastAgeSeconds: 0 };

/** A file that is left as it is. */
export interface SkippedFile {
  readonly container: string;
  readonly path: RawName;
  readonly reason: string;
}

/** What a look at one private area has found. */
export interface FoundCandidates {
  readonly candidates: readonly Candidate[];
  readonly skipped: readonly SkippedFile[];
  /** Links that still have their content, because it was in use when they became links: they are to be asked for again. */
  readonly kept: readonly (Candidate & { readonly object: string })[];
}

/** A path so long that the scan has left out its middle. */
const CUT = '/.../';
/** Less than this of a file's size is missing for the ends of its blocks, or is a hole that is not worth a thought. */
const SPARSE_BYTES = 1 << 20;

function isBelow(path: RawName, folders: readonly RawName[]): boolean {
  return folders.some((folder) => folder === '/' || path === folder || path.startsWith(`${folder}/`));
}

/** Of the records of one scan, what may become a link; each inode once. */
export function findCandidates(container: string, records: readonly ScanRecord[], policy: LinkPolicy, nowSeconds: number): FoundCandidates {
  const candidates: Candidate[] = [];
  const skipped: SkippedFile[] = [];
  const kept: (Candidate & { object: string })[] = [];
  const seen = new Set<number>();
  for (const record of records) {
    const { kind, path, inode, sizeBytes, allocatedBytes, object } = record;
    if ((kind !== 'file' && kind !== 'partial' && kind !== 'link') || !isRegular(record.mode) || sizeBytes === 0) continue;
    // Deleted, and open; or not yet looked up by its engine, so that it has no number.
    if (!path.startsWith('/') || inode === 0) continue;
    if (sizeBytes < policy.leastBytes || (policy.greatestBytes !== null && sizeBytes > policy.greatestBytes)) continue;
    if (policy.paths !== null && !isBelow(path, policy.paths)) continue;
    if (policy.isKeptPrivate?.(record) === true) continue;
    if (seen.has(inode)) continue;
    seen.add(inode);
    const candidate = {
      container,
      inode,
      path,
      sizeBytes,
      allocatedBytes,
      mtimeSeconds: record.mtimeSeconds,
      mtimeNanoseconds: record.mtimeNanoseconds,
      isPartial: kind === 'partial',
    };
    if (kind === 'link') {
      // Up to a block is that of xattrs.
      if (object !== null && allocatedBytes > 4096) kept.push({ ...candidate, object });
      continue;
    }
    const skip = (reason: string): void => void skipped.push({ container, path, reason });
    if (path.includes(CUT)) skip('its path is too long');
    else if (kind === 'file' && allocatedBytes + SPARSE_BYTES < sizeBytes) skip('it has large holes');
    else if (nowSeconds - record.mtimeSeconds < policy.leastAgeSeconds) skip('written to lately');
    else candidates.push(candidate);
  }
  return { candidates, skipped, kept };
}
