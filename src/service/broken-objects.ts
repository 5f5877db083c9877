import { lstatSync } from 'node:fs';
import { HeldLocks } from '../catalog/lock.js';
import { askEngines } from '../engine/running-engines.js';
import { asidePath, forgetBroken, listBroken, setAside, type BrokenNote } from '../store/broken-objects.js';
import { expectedContents } from '../store/content-sums.js';
import { formatObjectId, objectPath, parseObjectId } from '../store/object-id.js';
import { lock, type ServiceContext } from './context.js';

/** Fits into a frame of the control protocol many times over. */
const OBJECTS_PER_REQUEST = 200;
const LOCK_WAIT_MS = 60_000;

/** An object that must not be read any more. */
export interface LostObject {
  readonly name: string;
  readonly problem: string;
  /** Nothing is there: then what engines have open of it, they may keep. */
  readonly missing: boolean;
}

/**
 * Sets objects aside, and tells running engines to give up what they have of them. From here on opens and reads of them fail
 * with EIO, but for what is open by passthrough. @returns a sentence for each container where something is
 */
export async function setObjectsAside(context: ServiceContext, objects: readonly LostObject[]): Promise<string[]> {
  const { paths } = context;
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'broken', what: 'the list of broken objects', mode: 'exclusive', waitMs: LOCK_WAIT_MS }));
  const expected = expectedContents(paths, new Set(objects.map(({ name }) => name)));
  const found = new Date().toISOString();
  const told: string[] = [];
  for (const { name, problem, missing } of objects) {
    const id = parseObjectId(name);
    if (id === undefined) continue;
    setAside(paths, { id, size: expected.get(name)?.size, sum: expected.get(name)?.sum, found, problem });
    if (!missing) told.push(name);
  }
  const opens = new Map<string, number>();
  const notes: string[] = [];
  for (let at = 0; at < told.length; at += OBJECTS_PER_REQUEST) {
    for (const { container, reply, problem } of await askEngines(paths, ['broken', ...told.slice(at, at + OBJECTS_PER_REQUEST)])) {
      if (reply === undefined) notes.push(`the engine of ${container} did not take notice: ${problem}`);
      else opens.set(container, (opens.get(container) ?? 0) + Number(reply.get('opens') ?? 0));
    }
  }
  for (const [container, count] of opens) {
    if (count > 0) notes.push(`container ${container} has broken objects open ${count} ${count === 1 ? 'time' : 'times'}: what reads there goes on with wrong bytes until it closes them, or they are repaired`);
  }
  return notes;
}

/** Tells engines once more of what was set aside: whoever did it may have been killed before it could. */
export async function remindEngines(context: ServiceContext): Promise<void> {
  const { paths } = context;
  if (listBroken(paths).length === 0) return;
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'broken', what: 'the list of broken objects', mode: 'exclusive', waitMs: LOCK_WAIT_MS }));
  const names = listBroken(paths)
    .filter(({ id }) => lstatSync(asidePath(paths.broken, id), { throwIfNoEntry: false }) !== undefined)
    .filter(({ id }) => lstatSync(objectPath(paths, id), { throwIfNoEntry: false }) === undefined)
    .map(({ id }) => formatObjectId(id));
  for (let at = 0; at < names.length; at += OBJECTS_PER_REQUEST) await askEngines(paths, ['broken', ...names.slice(at, at + OBJECTS_PER_REQUEST)]);
}

/** Whether an object that has a note is at its place again. */
function isMended(context: ServiceContext, { id, size }: BrokenNote): boolean {
  const stat = lstatSync(objectPath(context.paths, id), { throwIfNoEntry: false });
  return stat?.isFile() === true && (size === undefined || stat.size === size);
}

/**
 * Ends the matter for objects that are at their place again: engines open them again, and their notes go.
 * @returns the names of those objects
 */
export async function settleMended(context: ServiceContext): Promise<string[]> {
  const { paths } = context;
  if (listBroken(paths).length === 0) return [];
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'broken', what: 'the list of broken objects', mode: 'exclusive', waitMs: LOCK_WAIT_MS }));
  const mended = listBroken(paths).filter((note) => isMended(context, note));
  // In another file than the one that was broken, and that somebody may have open still: those go on being refused.
  const inPlace = mended.filter(({ id }) => {
    const aside = lstatSync(asidePath(paths.broken, id), { throwIfNoEntry: false });
    return aside === undefined || aside.ino === lstatSync(objectPath(paths, id)).ino;
  });
  for (let at = 0; at < inPlace.length; at += OBJECTS_PER_REQUEST) {
    await askEngines(paths, ['sound', ...inPlace.slice(at, at + OBJECTS_PER_REQUEST).map(({ id }) => formatObjectId(id))]);
  }
  for (const { id } of mended) forgetBroken(paths, id);
  return mended.map(({ id }) => formatObjectId(id));
}
