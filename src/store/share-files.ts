import type { FileBelow } from './worker-messages.js';

/** What a thread gets in one message. */
export interface FileShare {
  /** Place of the first in the whole list. */
  readonly from: number;
  readonly files: readonly FileBelow[];
}

/** Divides files among threads, which take the next share when they are done with one: little enough that all end together. */
export function* shareFiles(files: readonly FileBelow[], most: { readonly files: number; readonly bytes: number }): Generator<FileShare, void> {
  for (let next = 0; next < files.length; ) {
    const from = next;
    for (let bytes = 0; next < files.length && next - from < most.files && bytes < most.bytes; next += 1) bytes += files[next]?.sizeBytes ?? 0;
    yield { from, files: files.slice(from, next) };
  }
}
