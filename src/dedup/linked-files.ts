import type { Candidate, SkippedFile } from './candidate.js';
import type { CachedCandidate, LinkedObject } from './link-cache.js';

/** Numbers of one run, as commands say them. */
export interface LinkTotals {
  /** Files whose content became an object. */
  readonly adoptedFiles: number;
  /** Files that were found equal to an object. */
  readonly mergedFiles: number;
  /** Of both: links whose content is given back only when nobody has it open or mapped any more. */
  readonly keptFiles: number;
  /** New objects. */
  readonly addedBytes: number;
  /** Size of what is shared now and was not. */
  readonly linkedBytes: number;
  /** Given back on the disk, less what new objects take. */
  readonly savedBytes: number;
  /** Read to find out what is equal. */
  readonly readBytes: number;
}

/** What one run has made of candidates. */
export interface LinkedFiles extends LinkTotals {
  readonly skipped: readonly SkippedFile[];
  /** Files that are worth another look, although nothing changes them: they were in use. */
  readonly again: readonly Candidate[];
  /** Candidates that are no links. */
  readonly left: readonly CachedCandidate[];
  /** Links that keep their content. */
  readonly kept: readonly (Candidate & { readonly object: string })[];
  /** What new links name. */
  readonly objects: readonly MadeLink[];
  /** New objects, and what they take on the disk. */
  readonly newObjects: { readonly objects: number; readonly allocatedBytes: number };
}

/** A link that was made of a private file. */
export interface MadeLink extends LinkedObject {
  readonly container: string;
  /** What the private area takes less by it; null where that is not known: it keeps its content for now, or was a partial file. */
  readonly freedBytes: number | null;
}
