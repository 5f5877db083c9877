import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { isAlive, ownIdentity, type ProcessIdentity } from './process-identity.js';
import { isFull } from './sqlite-error.js';
import { makeFolder } from '../store/write-file-durably.js';

/*
 * Locks between commands. A lock must vanish with its holder, whatever kills it, so it has to be one that the kernel
 * keeps. Node has no flock(2); SQLite has fcntl locks with shared and exclusive modes, and takes care of the traps that
 * POSIX locks set (closing one descriptor drops the locks of all). So a lock is an empty SQLite file and an open
 * transaction on it. Nothing is ever written into the file. Beside it each holder leaves a note, only for the message
 * that others print; a note whose process is gone is ignored.
 */

export type LockMode = 'shared' | 'exclusive';

export interface LockOptions {
  readonly paths: StorePaths;
  /** File name of the lock: `container-c1`, `use-c1`, `template-x`, `store`, `catalog`. */
  readonly name: string;
  /** What is locked, as the message names it: `container c1`. */
  readonly what: string;
  readonly mode: LockMode;
  /** How long to wait for others: a moment if left out; 0 gives up at once. */
  readonly waitMs?: number;
  /** What this process is doing, for the message that others print; the command line if left out. */
  readonly command?: string;
  readonly signal?: AbortSignal;
}

/** A lock that is held; release it once. The kernel releases it when the process ends, however it ends. */
export interface HeldLock extends Disposable {
  release(): void;
}

/** Locks that a use case holds for its time; released in reverse order at the end of the block. */
export class HeldLocks implements Disposable {
  readonly #locks: HeldLock[] = [];

  hold(lock: HeldLock): void {
    this.#locks.push(lock);
  }

  [Symbol.dispose](): void {
    for (const lock of this.#locks.splice(0).reverse()) lock.release();
  }
}

interface Note extends ProcessIdentity {
  readonly mode: LockMode;
  readonly command: string;
  readonly since: string;
}

const POLL_MS = 50;
/** What SQLite says when stat(2) of the path of a file that it has open fails; a new file may be there a moment later. */
const FOUND_NO_FILE = 'SQLITE_IOERR_FSTAT';
/** Another command often ends at once; a short wait spares the user an error without feeling like a hang. */
const SHORT_WAIT_MS = 200;

/** The notes beside a lock by file name; undefined for one that cannot be read. */
function notesOf(lockPath: string): [string, Note | undefined][] {
  const prefix = `${basename(lockPath)}.holder-`;
  return readdirSync(dirname(lockPath))
    .filter((name) => name.startsWith(prefix))
    .map((name) => [name, readNote(join(dirname(lockPath), name))]);
}

function readNote(path: string): Note | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Note;
  } catch {
    return undefined;
  }
}

function busyError(options: LockOptions, lockPath: string): TemplatefsError {
  const holders = notesOf(lockPath)
    .flatMap(([, note]) => (note === undefined ? [] : [note]))
    .filter((note) => isAlive(note) && (options.mode === 'exclusive' || note.mode === 'exclusive'));
  const names = holders.map(({ pid, command, since }) => `\`${command}\` (pid ${pid}, since ${since})`);
  const who = names.length === 0 ? 'another command' : names.join(', ');
  return new TemplatefsError('BUSY', `${options.what} is in use by ${who}`, {
    hint: 'wait until it has ended, or let this command wait for it with --wait SECONDS',
  });
}

function isBusy(error: unknown): boolean {
  return errnoOf(error)?.startsWith('SQLITE_BUSY') ?? false;
}

function begin(database: Database.Database, mode: LockMode): void {
  if (mode === 'exclusive') {
    database.exec('BEGIN EXCLUSIVE');
    return;
  }
  // A deferred transaction takes its shared lock with the first read.
  database.exec('BEGIN');
  try {
    database.prepare('SELECT count(*) FROM sqlite_master').get();
  } catch (error) {
    database.exec('ROLLBACK');
    throw error;
  }
}

function inodeOf(path: string): bigint | undefined {
  try {
    return statSync(path, { bigint: true }).ino;
  } catch {
    return undefined;
  }
}

/** One try. @returns undefined when somebody else holds the lock */
function tryLock(lockPath: string, mode: LockMode): Database.Database | undefined {
  if (!existsSync(lockPath)) writeFileSync(lockPath, '', { flag: 'a', mode: 0o600 });
  const inode = inodeOf(lockPath);
  const database = new Database(lockPath, { timeout: 0 });
  try {
    begin(database, mode);
  } catch (error) {
    // Looked at before the close, which lets a new lock file have the number of the old one.
    const isGone = inodeOf(lockPath) !== inode;
    database.close();
    // SQLite finds the file gone from under it when another command has removed it with its container just now.
    if (isBusy(error) || isGone || errnoOf(error) === FOUND_NO_FILE) return undefined;
    throw error;
  }
  // The file may have been removed with its container before the lock was taken: then this lock guards nothing.
  if (inode !== undefined && inodeOf(lockPath) === inode) return database;
  database.close();
  return undefined;
}

function lockError(error: unknown, lockPath: string): unknown {
  if (error instanceof TemplatefsError) return error;
  const code = errnoOf(error) ?? '';
  const hasNoRoom = code.startsWith('SQLITE_CANTOPEN') && isFull(lockPath);
  if (!hasNoRoom && /^SQLITE_(CANTOPEN|READONLY|PERM)/.test(code)) {
    return new TemplatefsError('STORE_NOT_WRITABLE', `cannot take the lock ${lockPath}`, {
      hint: 'run as root on a store that is mounted read-write, or name another with --store DIR',
      cause: error,
    });
  }
  // SQLite makes a journal beside the file, although nothing is ever written into that.
  if (hasNoRoom || code.startsWith('SQLITE_FULL')) {
    return new TemplatefsError('NO_SPACE', `no space left for the lock ${lockPath}`, {
      hint: 'free some space on the file system of the store (df -h, df -i), then run the command again',
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_IOERR')) {
    return new TemplatefsError('IO_ERROR', `I/O error while taking the lock ${lockPath}`, {
      hint: 'look at dmesg: the disk below the store reports errors',
      cause: error,
    });
  }
  return storeWriteError(error, lockPath);
}

/**
 * Takes a lock, waiting up to `waitMs` for others to release it.
 *
 * @throws BUSY, naming who holds it; STORE_NOT_WRITABLE; INTERRUPTED (the signal's reason)
 */
export async function acquireLock(options: LockOptions): Promise<HeldLock> {
  const lockPath = join(options.paths.locks, options.name);
  const deadline = performance.now() + (options.waitMs ?? SHORT_WAIT_MS);
  try {
    makeFolder(options.paths.locks);
    for (;;) {
      const database = tryLock(lockPath, options.mode);
      if (database !== undefined) return hold(database, lockPath, options);
      if (performance.now() >= deadline) throw busyError(options, lockPath);
      options.signal?.throwIfAborted();
      await sleep(POLL_MS);
    }
  } catch (error) {
    throw lockError(error, lockPath);
  }
}

let holds = 0;

function hold(database: Database.Database, lockPath: string, options: LockOptions): HeldLock {
  const notePath = `${lockPath}.holder-${process.pid}-${++holds}`;
  const note: Note = {
    ...ownIdentity(),
    mode: options.mode,
    command: options.command ?? commandLine(),
    since: new Date().toISOString(),
  };
  writeFileSync(notePath, JSON.stringify(note), { mode: 0o600 });
  removeStaleNotes(lockPath);
  let held = true;
  const release = (): void => {
    if (!held) return;
    held = false;
    // What the command did is done: a note that cannot be removed is ignored from the end of this process on.
    removeNote(notePath);
    database.close();
  };
  return { release, [Symbol.dispose]: release };
}

function removeNote(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // The next holder tries again.
  }
}

/** Notes are removed with their lock; those of killed processes are swept by the next holder. */
function removeStaleNotes(lockPath: string): void {
  for (const [name, note] of notesOf(lockPath)) {
    if (note === undefined || !isAlive(note)) removeNote(join(dirname(lockPath), name));
  }
}

/** Removes the file of a lock that is held exclusively and will not be needed again. */
export function removeLockFile(paths: StorePaths, name: string): void {
  rmSync(join(paths.locks, name), { force: true });
}

function commandLine(): string {
  return ['templatefs', ...process.argv.slice(2)].join(' ').slice(0, 200);
}
