import { existsSync } from 'node:fs';
import { HeldLocks } from '../catalog/lock.js';
import { DEFAULT_POLICY, findCandidates, type SkippedFile } from '../dedup/candidate.js';
import { withKnownHashes } from '../dedup/link-cache.js';
import { KnownObjects } from '../dedup/known-objects.js';
import type { LinkTotals } from '../dedup/linked-files.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { printableName, type RawName } from '../store/raw-names.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { addKnownObjects } from './find-known-objects.js';
import { linkCandidates } from './link-candidates.js';
import { noteObjectsChange } from './object-totals.js';
import { enterContainer, leaveContainer } from './use-container.js';

export interface AdoptOptions {
  readonly container: string;
  /** Makes objects also of contents that nobody else has: those of a container that others are about to be like. */
  readonly adoptNew: boolean;
  /** Only files below these absolute paths, as raw names. */
  readonly paths?: readonly RawName[];
  readonly leastBytes?: number;
  /** Files that stay private, whatever they hold: secrets. */
  readonly isKeptPrivate?: (record: ScanRecord) => boolean;
  /** The container is mounted there, and the caller keeps it so. */
  readonly root?: string;
  readonly hashBits?: number;
}

export interface AdoptedContainer extends Omit<LinkTotals, 'readBytes'> {
  readonly skipped: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Makes links of a container's private files. It is mounted for the time if it is not; its processes may go on meanwhile, and see
 * nothing of it.
 *
 * @throws CONTAINER_NOT_FOUND, BUSY, FUSE_UNAVAILABLE, ENGINE_FAILED, NO_SPACE, STORE_NOT_WRITABLE, INTERRUPTED
 */
export async function adoptContainer(context: ServiceContext, options: AdoptOptions): Promise<AdoptedContainer> {
  if (options.root !== undefined) return adoptMounted(context, options, options.root);
  const { root, use } = await enterContainer(context, options.container);
  try {
    return await adoptMounted(context, options, root);
  } finally {
    use.release();
    await leaveContainer(context, options.container);
  }
}

async function adoptMounted(context: ServiceContext, options: AdoptOptions, root: string): Promise<AdoptedContainer> {
  const { container, adoptNew, paths, leastBytes, hashBits, isKeptPrivate } = options;
  using locks = new HeldLocks();
  // Objects that nothing refers to yet must stay until the links are there: docs/invariants/garbage.md, rule 4.
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
  const known = new KnownObjects();
  {
    using opened = await openForWriting(context);
    noteObjectsChange(opened.catalog);
    if (!adoptNew) addKnownObjects(context, opened.catalog, known);
  }
  const records = await scanPrivateArea(context.paths, container, context.signal);
  const policy = { ...DEFAULT_POLICY, ...(paths !== undefined && { paths }), ...(leastBytes !== undefined && { leastBytes }), ...(isKeptPrivate !== undefined && { isKeptPrivate }) };
  const found = findCandidates(container, records, policy, Date.now() / 1000);
  const linked = await linkCandidates(context, {
    candidates: withKnownHashes(found.candidates, []),
    kept: found.kept,
    adoptNew,
    known,
    open: () => Promise.resolve({ root, isIdle: existsSync(context.paths.temporaryMount(container)) }),
    ...(hashBits !== undefined && { hashBits }),
  });
  const { adoptedFiles, mergedFiles, keptFiles, addedBytes, linkedBytes, savedBytes } = linked;
  return { adoptedFiles, mergedFiles, keptFiles, addedBytes, linkedBytes, savedBytes, skipped: [...found.skipped, ...linked.skipped].map(shown) };
}

function shown({ path, reason }: SkippedFile): { path: string; reason: string } {
  return { path: printableName(path), reason };
}
