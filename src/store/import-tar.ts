import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { ArchiveHierarchy } from './archive-hierarchy.js';
import { interrupted } from './bad-archive.js';
import { ByteSource } from './byte-source.js';
import { decompress } from './decompress.js';
import { finishImport, finishMending, type ImportResult } from './finish-import.js';
import { ArchiveContents } from './archive-contents.js';
import { isRegular } from './inode-types.js';
import { ObjectBatch } from './object-batch.js';
import { NO_ACL_IDS, type AclIds } from './posix-acl.js';
import { ImportProgress, type ProgressListener } from './import-progress.js';
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

/** What all imports of this folder do; `after` adds what the archive cannot hold. */
export async function importStream(
  paths: StorePaths,
  source: Readable,
  options: ImportOptions,
  after?: AfterArchive,
): Promise<ImportResult> {
  const { signal } = options;
  const stop = (): void => {
    source.destroy(interrupted('the import'));
  };
  const checkAbort = (): void => {
    if (signal?.aborted === true) throw interrupted('the import');
  };
  // An error that comes before anybody reads is kept by the stream; without a listener it would end the process.
  source.on('error', () => undefined);
  let batch: ObjectBatch | undefined;
  try {
    checkAbort();
    signal?.addEventListener('abort', stop, { once: true });
    batch = await ObjectBatch.open(paths, {
      ...(options.hashBits === undefined ? {} : { hashBits: options.hashBits }),
      ...(options.maxBytes === undefined ? {} : { maxNewBytes: options.maxBytes }),
      ...(options.mendOnly === undefined ? {} : { mendOnly: options.mendOnly }),
      ...(options.trustFingerprint === undefined ? {} : { trustFingerprint: options.trustFingerprint }),
    });
    const archive = await readArchive(batch, source, options, checkAbort);
    await after?.(archive);
    checkAbort();
    if (options.mendOnly !== undefined) return await finishMending(batch);
    return await finishImport(paths, batch, archive.hierarchy);
  } catch (error) {
    // A stream that was destroyed may end in some other error first.
    if (signal?.aborted === true) throw interrupted('the import');
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    source.destroy();
    await batch?.abandon();
  }
}

async function readArchive(
  batch: ObjectBatch,
  source: Readable,
  options: ImportOptions,
  checkAbort: () => void,
): Promise<ArchiveHierarchy> {
  const progress = new ImportProgress(options.onProgress);
  const bytes = new ByteSource(decompress(progress.count(source as AsyncIterable<Buffer>)));
  try {
    const reader = new TarReader(bytes, { aclIds: options.aclIds ?? NO_ACL_IDS });
    const archive = new ArchiveHierarchy(options.maxEntries);
    const contents = new ArchiveContents(batch, archive.hierarchy, reader, { ...options, checkAbort });
    for (let member = await reader.next(); member !== undefined; member = await reader.next()) {
      checkAbort();
      const node = archive.place(member);
      const isFile = member.kind === 'node' && isRegular(member.mode);
      if (isFile) await contents.add(node, member);
      contents.checkSize(bytes.offset, member);
      progress.report(member.path, isFile);
    }
    await bytes.drain();
    progress.end();
    return archive;
  } finally {
    await bytes.close();
  }
}
