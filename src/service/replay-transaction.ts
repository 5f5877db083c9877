import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { formatContainerFile } from '../catalog/container-file.js';
import { TemplatefsError } from '../core/errors.js';
import { makeAreaFolder } from '../engine/area-folder.js';
import { exchangeFolders } from '../engine/copy-area.js';
import { settledEngineState } from '../engine/engine-state.js';
import { endTrace, type ReadTrace } from '../engine/trace.js';
import { packArea, unpackArea } from '../engine/pack-area.js';
import { readReplay, replaysOf, writeReplay } from '../packages/replay-cache.js';
import { isOwnOfEach, replayableChange, withMachineId, type ReplayRules } from '../packages/replay-rules.js';
import { applyChange } from '../store/area-change.js';
import { objectOf, parentPath, readAreaImage, writeAreaImage, type AreaImage } from '../store/area-image.js';
import { objectPath } from '../store/object-id.js';
import type { RawName } from '../store/raw-names.js';
import { TreeReader } from '../store/tree-reader.js';
import { syncFolder, writeFileDurably } from '../store/write-file-durably.js';
import { lock, type ServiceContext } from './context.js';
import { holdContainer } from './hold-container.js';
import { draftArea, journaled } from './journal.js';
import { noteObjectsChange } from './object-totals.js';
import { requireContainerFile } from './snapshot-container.js';
import { umountLocked } from './umount-container.js';
import { enteredBy, type EnteredContainer } from './use-container.js';

/*
 * A transaction that was carried out in one container is *replayed* in others that are in the same state: what it wrote is put into their
 * private areas, and no package manager unpacks anything or runs a script. docs/installer.md says why the outcome is the same.
 */

/** Larger private areas are left to the package manager: the whole is in memory. */
const LIMIT_BYTES = 64 << 20;

/** Who is carrying out what in this process, so that others that want the same wait for it and replay it. */
const underWay = new Map<string, Promise<void>>();

/** Waits for the one that is carrying out the same. @returns to be called at the end; undefined: somebody was, and it is over */
export async function waitForTurn(key: string): Promise<(() => void) | undefined> {
  const other = underWay.get(key);
  if (other !== undefined) {
    await other;
    return undefined;
  }
  let end = (): void => undefined;
  underWay.set(key, new Promise((resolve) => { end = resolve; }));
  return () => {
    underWay.delete(key);
    end();
  };
}

async function readArea(folder: string, signal: AbortSignal | undefined): Promise<AreaImage | undefined> {
  const pieces: Buffer[] = [];
  let size = 0;
  await packArea(folder, async (stream) => {
    for await (const piece of stream as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size <= LIMIT_BYTES) pieces.push(piece);
    }
  }, signal);
  return size > LIMIT_BYTES ? undefined : readAreaImage(Buffer.concat(pieces));
}

function hasObjects({ paths }: ServiceContext, image: AreaImage): boolean {
  const inodes = [...image.indexed.values(), ...[...image.entries.values()].flatMap((entry) => (entry.kind === 'inode' ? [entry.inode] : []))];
  return inodes.every((inode) => {
    const object = objectOf(inode);
    return object === undefined || (statSync(objectPath(paths, object), { throwIfNoEntry: false })?.size ?? -1) >= object.size;
  });
}

/** What a container has at a path could not have been noticed by what was carried out. */
function unrelatedTo(trace: ReadTrace | null): (path: RawName, hasSameName: boolean) => boolean {
  return (path, hasSameName) => isOwnOfEach(path) || (trace !== null && !trace.asked.has(path) && (hasSameName || !trace.listed.has(parentPath(path))));
}

function isBusy(error: unknown): boolean {
  return error instanceof TemplatefsError && error.code === 'BUSY';
}

/**
 * Puts into a stopped container what a transaction wrote in another one, if this one is as that was.
 *
 * @returns content that is shared since; undefined: the container is as it was, and the package manager has to do it
 */
export async function replayTransaction(context: ServiceContext, container: string, key: string): Promise<{ linkedBytes: number } | undefined> {
  const { paths, signal } = context;
  try {
    using held = await holdContainer(context, container);
    const { catalog, locks } = held;
    // Nobody has it mounted, and nobody mounts it meanwhile.
    locks.hold(await lock(context, { name: `use-${container}`, what: `container ${container}`, mode: 'exclusive', waitMs: 0 }));
    if ((await settledEngineState(paths, container)).state !== 'stopped') return undefined;
    const settings = requireContainerFile(paths, container);
    // docs/invariants/garbage.md, rule 4: from before the first look at an object until the links are there.
    locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
    noteObjectsChange(catalog);
    const area = paths.privateArea(container);
    const target = await readArea(area, signal);
    const found = target === undefined ? undefined : firstThatFits(context, settings.tree, key, target);
    if (found === undefined) return undefined;
    const { image, linkedBytes } = found;
    await journaled(paths, catalog, 'restore-container', container, async (entry) => {
      const draft = draftArea(paths, entry);
      await makeAreaFolder(draft);
      await unpackArea(draft, Readable.from([writeAreaImage(image)]), signal);
      writeFileDurably(join(draft, 'container'), formatContainerFile(settings));
      syncFolder(draft);
      signal?.throwIfAborted();
      await exchangeFolders(draft, area);
      syncFolder(paths.privateAreas);
    });
    return { linkedBytes };
  } catch (error) {
    if (isBusy(error)) return undefined;
    throw error;
  }
}

function firstThatFits(context: ServiceContext, digest: string, key: string, target: AreaImage): { image: AreaImage; linkedBytes: number } | undefined {
  const { paths } = context;
  const tree = TreeReader.open(paths.tree(digest));
  try {
    for (const name of replaysOf(paths, key)) {
      const record = readReplay(paths, name);
      if (record === undefined || !hasObjects(context, record.change.after)) continue;
      const applied = applyChange(record.change, target, tree, unrelatedTo(record.trace));
      if (applied.kind === 'refused') continue;
      const image = record.makesMachineId ? withMachineId(applied.image, record.change, randomBytes(16).toString('hex')) : applied.image;
      return { image, linkedBytes: record.linkedBytes };
    }
    return undefined;
  } finally {
    tree.close();
  }
}

export interface RecordOptions {
  readonly container: string;
  readonly key: string;
  /** `CT@ID`: what the container was before. */
  readonly snapshot: string;
  readonly entered: EnteredContainer;
  readonly rules: Omit<ReplayRules, 'readObject'>;
  readonly linkedBytes: number;
}

/**
 * Keeps what a transaction has written, if nobody else was in the container meanwhile and other containers may have the same. The
 * container, which was mounted for the transaction, is unmounted.
 */
export async function recordTransaction(context: ServiceContext, options: RecordOptions): Promise<void> {
  const { paths, signal } = context;
  const { container, key, entered } = options;
  try {
    using held = await holdContainer(context, container);
    const trace = await endTrace(paths, container);
    if (!existsSync(paths.temporaryMount(container)) || enteredBy(paths, container) !== entered.mark) return;
    entered.use.release();
    held.locks.hold(await lock(context, { name: `use-${container}`, what: `container ${container}`, mode: 'exclusive', waitMs: 0 }));
    await umountLocked(context, container, false);
    held.locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
    const before = await readArea(paths.privateArea(options.snapshot), signal);
    const after = await readArea(paths.privateArea(container), signal);
    if (before === undefined || after === undefined) return;
    const tree = TreeReader.open(paths.tree(requireContainerFile(paths, container).tree));
    try {
      const found = replayableChange(before, after, tree, { ...options.rules, readObject: (object) => readFileSync(objectPath(paths, object)) });
      if (found.kind === 'unique') return;
      writeReplay(paths, key, { change: found.change, trace, makesMachineId: found.makesMachineId, linkedBytes: options.linkedBytes });
    } finally {
      tree.close();
    }
  } catch (error) {
    // The transaction is done, and the catalog says so; without this, others take longer.
    if (!isBusy(error)) context.onNotice?.(`it is not kept for other containers: ${error instanceof Error ? error.message : String(error)}`);
  }
}
