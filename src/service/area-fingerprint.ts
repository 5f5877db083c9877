import { controlRequest } from '../engine/control-client.js';
import { settledEngineState } from '../engine/engine-state.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import type { ServiceContext } from './context.js';

/** What an entry of a private area is like, as its container sees it: sharing its content changes nothing of it. */
export type Fingerprints = ReadonlyMap<string, string>;

/** Kinds that differ only in where the content lies. */
const SHOWN_AS: Readonly<Record<string, string>> = { link: 'file', partial: 'file', merged: 'dir' };

function fingerprint(record: ScanRecord): string {
  const kind = SHOWN_AS[record.kind] ?? record.kind;
  const owner = `${record.mode.toString(8)} ${record.uid} ${record.gid}`;
  // A folder's size and mtime say only that something in it has changed, which has a line of its own.
  return kind === 'dir' ? `${kind} ${owner}` : `${kind} ${owner} ${record.inode} ${record.sizeBytes} ${record.mtimeSeconds}.${record.mtimeNanoseconds}`;
}

/** Whether a fingerprint is that of a folder. */
export function isFolder(print: string): boolean {
  return print.startsWith('dir ');
}

/** Of all entries of a private area, or of a snapshot `CT@ID`. Paths are raw: one character a byte. */
export async function fingerprints(context: ServiceContext, area: string): Promise<Fingerprints> {
  // What was written a moment ago is still in the kernel's cache of the mount.
  if (!area.includes('@') && (await settledEngineState(context.paths, area)).state === 'mounted') {
    await controlRequest(context.paths.controlSocket(area), ['sync'], { timeoutMs: 120_000 });
  }
  const records = await scanPrivateArea(context.paths, area, context.signal);
  return new Map(records.filter(({ path }) => path.startsWith('/')).map((record) => [record.path, fingerprint(record)]));
}

/** One path that changed: what it was like before and afterwards; null: nothing of the container's own. */
export type PathChange = readonly [path: string, before: string | null, after: string | null];

/**
 * The index that SQLite keeps beside a write-ahead log: it has no data, is made anew by whoever opens the database first, and is
 * written by every reader. rpm's database has one, so a mere `rpm -q` changes it.
 */
export function isRebuilt([path]: PathChange): boolean {
  return path.endsWith('.sqlite-shm');
}

export function changedPaths(before: Fingerprints, after: Fingerprints): PathChange[] {
  const changes: PathChange[] = [];
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const [was, is] = [before.get(path) ?? null, after.get(path) ?? null];
    if (was !== is) changes.push([path, was, is]);
  }
  return changes.sort(([a], [b]) => (a < b ? -1 : 1));
}
