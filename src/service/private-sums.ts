import type { ScanRecord } from '../engine/scan.js';

/** Sums over one private area; each inode once. */
export interface PrivateSums {
  /** Allocated on the disk, folders included. */
  readonly allocatedBytes: number;
  /** Regular files with content of their own, whole or in part. */
  readonly files: number;
  readonly links: number;
  /** Size of the content that links share, and that shows through partial files. */
  readonly linkedBytes: number;
  /** Size of content of its own. */
  readonly ownBytes: number;
}

export function privateSums(records: readonly ScanRecord[]): PrivateSums {
  const sums = { allocatedBytes: 0, files: 0, links: 0, linkedBytes: 0, ownBytes: 0 };
  const seen = new Set<number>();
  for (const record of records) {
    // A whiteout has no inode number of its own.
    if (record.kind !== 'whiteout') {
      if (seen.has(record.inode)) continue;
      seen.add(record.inode);
    }
    sums.allocatedBytes += record.allocatedBytes;
    if (record.kind === 'file' || record.kind === 'partial') sums.files++;
    if (record.kind === 'file') sums.ownBytes += record.sizeBytes;
    if (record.kind === 'partial') {
      sums.linkedBytes += Math.max(0, record.sizeBytes - record.allocatedBytes);
      sums.ownBytes += Math.min(record.sizeBytes, record.allocatedBytes);
    }
    if (record.kind === 'link') {
      sums.links++;
      sums.linkedBytes += record.sizeBytes;
    }
  }
  return sums;
}
