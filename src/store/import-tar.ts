import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import type { StorePaths } from '../core/store-paths.js';
import { ArchiveHierarchy } from './archive-hierarchy.js';
import { interrupted } from './bad-archive.js';
import { ByteSource } from './byte-source.js';
import { decompress } from './decompress.js';
import { finishImport, finishMending, type ImportResult } from './finish-import.js';
import { ArchiveContents, type HoleBudget } from './archive-contents.js';
import { isRegular } from './inode-types.js';
import { ObjectBatch } from './object-batch.js';
import { NO_ACL_IDS, type AclIds } from './posix-acl.js';
import { ImportProgress, type ProgressListener } from './import-progress.js';
import type { TarMember } from './tar-member.js';
import { TarReader } from './tar-reader.js';

const READ_BYTES = 1 << 20;

export interface ImportOptions {
  /** Ends the import with INTERRUPTED; nothing of it is left. */
  readonly signal?: AbortSignal;
  /** Called about ten times a second at most. */
  readonly onProgress?: ProgressListener;
  /**
   * Most bytes that the decompressed archive may have, and most bytes of new content. By default the archive may have
   * any number, and new content as much as is free on the store's file system, less 64 MiB.
   */
  readonly maxBytes?: number;
  /** Most bytes of holes in sparse files, all together: they take no space, but time to hash. Default 1 TiB. */
  readonly maxHoleBytes?: number;
  /** Most entries, those that a later one replaces included. Default 8,000,000, at most 2^28 − 1. */
  readonly maxEntries?: number;
  /** Numbers of the users and groups that ACLs of the archive name by name. Without them such an ACL is an error. */
  readonly aclIds?: AclIds;
  /** Bits of the fingerprint that count: fewer than 128 only in tests, to make collisions. */
  readonly hashBits?: number;
  /** Imports nothing: broken objects with these fingerprints get their content back. The result says nothing then. */
  readonly mendOnly?: readonly string[];
  /** Whether the source is taken at its word where no SHA-256 was written down: see `mayMend`. */
  readonly trustFingerprint?: boolean;
}

/** Changes a hierarchy between the archive's end and the writing of its tree. */
export type AfterArchive = (archive: ArchiveHierarchy) => Promise<void>;

/**
 * Imports a tar archive (plain, gzip, zstd or xz, told apart by its first bytes) into the store. When it returns, all
 * objects and the tree are durable; when it throws, the store has no new tree and staging is as it was.
 * One archive always gives one tree. Owners are the archive's numbers; names of users are ignored.
 * @throws BAD_ARCHIVE naming member and byte, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, INTERRUPTED
 */
export async function importTar(paths: StorePaths, source: Readable, options: ImportOptions = {}): Promise<ImportResult> {
  return importStream(paths, source, options);
}

/** As `importTar`, from a file, or from stdin with `-`. @throws also FAILED when the file cannot be read */
export async function importTarFile(paths: StorePaths, file: string, options: ImportOptions = {}): Promise<ImportResult> {
  if (file === '-') return importStream(paths, process.stdin, options);
  const source = createReadStream(file, { highWaterMark: READ_BYTES });
  try {
    return await importStream(paths, source, options);
  } catch (error) {
    const errno = errnoOf(error);
    if (source.errored !== null && source.errored === error && errno !== undefined) {
      throw new TemplatefsError('FAILED', `cannot read ${file}: ${errno}`, { hint: 'name a tar archive, or - for stdin', cause: error });
    }
    throw error;
  }
}

/** An import of one archive; `after` adds what the archive cannot hold. */
export async function importStream(
  paths: StorePaths,
  source: Readable,
  options: ImportOptions,
  after?: AfterArchive,
): Promise<ImportResult> {
  const stop = (): void => {
    source.destroy(interrupted('the import'));
  };
  // An error that comes before anybody reads is kept by the stream; without a listener it would end the process.
  source.on('error', () => undefined);
  const stopListening = onAbort(options.signal, stop);
  try {
    const archive = new ArchiveHierarchy(options.maxEntries);
    return await importWith(paths, options, archive, async (running) => {
      const progress = new ImportProgress(options.onProgress);
      await readArchive(progress.count(source as AsyncIterable<Buffer>), { ...running, archive, options, progress });
      progress.end();
      await after?.(archive);
    });
  } finally {
    stopListening();
    source.destroy();
  }
}

/** What an import is in the middle of. */
export interface RunningImport {
  readonly batch: ObjectBatch;
  /** Throws when the import is to end. */
  readonly checkAbort: () => void;
}

/** What all imports of this folder do: `read` fills a hierarchy, which then becomes a tree. */
export async function importWith(
  paths: StorePaths,
  options: ImportOptions,
  archive: ArchiveHierarchy,
  read: (running: RunningImport) => Promise<void>,
): Promise<ImportResult> {
  const { signal } = options;
  const checkAbort = (): void => {
    if (signal?.aborted === true) throw interrupted('the import');
  };
  let batch: ObjectBatch | undefined;
  try {
    checkAbort();
    batch = await ObjectBatch.open(paths, {
      ...(options.hashBits === undefined ? {} : { hashBits: options.hashBits }),
      ...(options.maxBytes === undefined ? {} : { maxNewBytes: options.maxBytes }),
      ...(options.mendOnly === undefined ? {} : { mendOnly: options.mendOnly }),
      ...(options.trustFingerprint === undefined ? {} : { trustFingerprint: options.trustFingerprint }),
    });
    await read({ batch, checkAbort });
    checkAbort();
    if (options.mendOnly !== undefined) return await finishMending(batch);
    return await finishImport(paths, batch, archive.hierarchy);
  } catch (error) {
    // A stream that was destroyed may end in some other error first.
    if (signal?.aborted === true) throw interrupted('the import');
    throw error;
  } finally {
    await batch?.abandon();
  }
}

/** One archive among those that an import reads. */
export interface ReadOptions extends RunningImport {
  readonly archive: ArchiveHierarchy;
  readonly options: ImportOptions;
  readonly progress: ImportProgress;
  /** Takes a member that is no file but says something about others; true: it is not to be placed. */
  readonly isMark?: (member: TarMember) => boolean;
  /** Passes the decompressed bytes on. */
  readonly watch?: (plain: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;
  readonly holeBudget?: HoleBudget;
}

/** Places the members of an archive, which may be compressed, and hands their contents to the batch. */
export async function readArchive(source: AsyncIterable<Buffer>, reading: ReadOptions): Promise<void> {
  const { batch, archive, options, progress, checkAbort, isMark, watch, holeBudget } = reading;
  const plain = decompress(source);
  const bytes = new ByteSource(watch === undefined ? plain : watch(plain));
  try {
    const reader = new TarReader(bytes, { aclIds: options.aclIds ?? NO_ACL_IDS });
    const contents = new ArchiveContents(batch, archive.hierarchy, reader, { ...options, checkAbort, ...(holeBudget !== undefined && { holeBudget }) });
    for (let member = await reader.next(); member !== undefined; member = await reader.next()) {
      checkAbort();
      if (isMark?.(member) === true) continue;
      const node = archive.place(member);
      const isFile = member.kind === 'node' && isRegular(member.mode);
      if (isFile) await contents.add(node, member);
      contents.checkSize(bytes.offset, member);
      progress.report(member.path, isFile);
    }
    await bytes.drain();
  } finally {
    await bytes.close();
  }
}
