import { existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf, storeWriteError } from '../core/errors.js';
import { formatKeyValues, parseKeyValues } from '../core/key-value-text.js';
import type { StorePaths } from '../core/store-paths.js';
import { syncFolder, writeFileDurably } from './write-file-durably.js';
import type { ExpectedContent } from './content-sums.js';
import { makeFolders } from './make-folders.js';
import { formatObjectId, objectPathIn, parseObjectId, type ObjectId } from './object-id.js';

/*
 * An object that is known to be broken must not be read, and its name must not be given to another content. So its file
 * is moved to broken/, and a note there keeps the name taken and says what belongs under it. docs/formats/broken.md.
 */

const MAGIC = 'templatefs-broken';
const NOTE = '.note';
const CONTENT = '.content';

/** `broken/<object>.note`. */
export interface BrokenNote extends ExpectedContent {
  readonly id: ObjectId;
  /** ISO 8601. */
  readonly found: string;
  readonly problem: string;
}

export function notePath(broken: string, id: ObjectId): string {
  return join(broken, `${formatObjectId(id)}${NOTE}`);
}

/** Where the bytes of an object that was set aside are. */
export function asidePath(broken: string, id: ObjectId): string {
  return join(broken, `${formatObjectId(id)}${CONTENT}`);
}

/** The note of an object; undefined when it is not known to be broken, and for a note that cannot be read: then `unknown`. */
export function readNote(broken: string, id: ObjectId): BrokenNote | undefined {
  const path = notePath(broken, id);
  let text: string;
  try {
    // Nearly never is there a note, and an exception takes ten times as long.
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    return { id, size: undefined, sum: undefined, found: '', problem: 'its note cannot be read' };
  }
  try {
    const values = new Map(parseKeyValues(text, { file: path, errorCode: 'INTEGRITY' }).map(({ key, value }) => [key, value]));
    const size = values.get('size') ?? '';
    const sum = values.get('sha256') ?? '';
    return {
      id,
      size: /^[1-9]\d{0,15}$/.test(size) ? Number(size) : undefined,
      sum: /^[0-9a-f]{64}$/.test(sum) ? Buffer.from(sum, 'hex') : undefined,
      found: values.get('found') ?? '',
      problem: values.get('problem') ?? '',
    };
  } catch {
    // The name stays taken, by a content that nobody can prove.
    return { id, size: undefined, sum: undefined, found: '', problem: 'its note cannot be read' };
  }
}

/** All objects that are known to be broken or missing, sorted. */
export function listBroken(paths: StorePaths): BrokenNote[] {
  let names: string[];
  try {
    names = readdirSync(paths.broken).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
  return names.flatMap((name) => {
    const id = name.endsWith(NOTE) ? parseObjectId(name.slice(0, -NOTE.length)) : undefined;
    const note = id === undefined ? undefined : readNote(paths.broken, id);
    return note === undefined ? [] : [note];
  });
}

/**
 * Takes an object out of the store: from here on it cannot be opened. Durable when it returns; a cut leaves the object
 * where it was, with or without a note. An object that is missing only gets its note.
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR
 */
export function setAside(paths: StorePaths, note: BrokenNote): void {
  const { id } = note;
  const path = objectPathIn(paths.objects, id);
  try {
    makeFolders(paths.broken);
    // The note first: while it is there, no import gives the name to another content.
    writeNote(paths.broken, note);
    if (!renameIfThere(path, asidePath(paths.broken, id))) return;
    syncFolder(dirname(path));
    syncFolder(paths.broken);
  } catch (error) {
    throw storeWriteError(error, paths.broken);
  }
}

/** The object is whole again: its note goes, and what is left of the broken file. */
export function forgetBroken(paths: StorePaths, id: ObjectId): void {
  try {
    rmSync(asidePath(paths.broken, id), { force: true, recursive: true });
    rmSync(notePath(paths.broken, id), { force: true });
    if (existsSync(paths.broken)) syncFolder(paths.broken);
  } catch (error) {
    throw storeWriteError(error, paths.broken);
  }
}

function writeNote(broken: string, note: BrokenNote): void {
  const path = notePath(broken, note.id);
  writeFileDurably(path, formatKeyValues([
    { key: MAGIC, value: '1' },
    { key: 'object', value: formatObjectId(note.id) },
    ...(note.size === undefined ? [] : [{ key: 'size', value: String(note.size) }]),
    ...(note.sum === undefined ? [] : [{ key: 'sha256', value: note.sum.toString('hex') }]),
    { key: 'found', value: note.found },
    { key: 'problem', value: note.problem },
  ]));
}

function renameIfThere(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
