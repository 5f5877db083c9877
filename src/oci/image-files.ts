import { constants } from 'node:fs';
import { lstat, open, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { badArchive } from '../store/bad-archive.js';
import { ByteSource } from '../store/byte-source.js';
import { badImage } from '../store/checked-bytes.js';
import { decompress } from '../store/decompress.js';
import { isRegular, isSymlink } from '../store/inode-types.js';
import { NO_ACL_IDS } from '../store/posix-acl.js';
import { TarReader } from '../store/tar-reader.js';

const READ_BYTES = 1 << 20;
/** Layers and small files of one image; with more somebody plays games. */
const MAX_FILES = 100_000;
const MAX_SYMLINKS = 8;

/** The files that an image is stored in. Their names come from the image and are not believed. */
export interface ImageFiles {
  /** For messages and for the template's source. */
  readonly place: string;
  /** The bytes of one file; undefined when there is none of that name. */
  read(path: string): Promise<AsyncIterable<Buffer> | undefined>;
  close(): Promise<void>;
}

/** An image in a folder. */
export class FolderFiles implements ImageFiles {
  readonly place: string;

  constructor(folder: string) {
    this.place = folder;
  }

  /** Symlinks and whatever else is no plain file are refused: a pipe would never end, a link would lead elsewhere. */
  async read(path: string): Promise<AsyncIterable<Buffer> | undefined> {
    const full = join(this.place, path);
    let file: FileHandle;
    try {
      if (!(await lstat(dirname(full))).isDirectory()) return undefined;
      file = await open(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw new TemplatefsError('FAILED', `cannot read ${full}: ${errnoOf(error) ?? String(error)}`, { hint: 'an image in a folder consists of plain files', cause: error });
    }
    if (!(await file.stat()).isFile()) {
      await file.close();
      throw badImage(`${full} is no plain file`);
    }
    return file.createReadStream({ highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>;
  }

  async close(): Promise<void> {
    // Nothing is open between two files.
  }
}

interface Member {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** An image in a tar, whose members are read where they lie. */
export class TarFiles implements ImageFiles {
  readonly place: string;
  readonly #file: FileHandle;
  readonly #members: ReadonlyMap<string, Member | string>;

  private constructor(place: string, file: FileHandle, members: ReadonlyMap<string, Member | string>) {
    this.place = place;
    this.#file = file;
    this.#members = members;
  }

  /**
   * Opens an archive and finds what is in it. A compressed one is decompressed first, into a file that `scratch` names and that has no
   * name any more when this returns. @throws BAD_ARCHIVE, FAILED
   */
  static async open(path: string, scratch: () => string): Promise<TarFiles> {
    let file = await openArchive(path);
    try {
      if (await isCompressed(file)) {
        const plain = await unpack(file, scratch());
        await file.close();
        file = plain;
      }
      return new TarFiles(path, file, await findMembers(bytesOf(file, 0)));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async read(path: string): Promise<AsyncIterable<Buffer> | undefined> {
    let name = clean(path);
    for (let symlinks = 0; symlinks <= MAX_SYMLINKS; symlinks += 1) {
      const member = this.#members.get(name);
      if (member === undefined) return undefined;
      if (typeof member !== 'string') return bytesOf(this.#file, member.offset, member.sizeBytes);
      // `docker save` stores a layer that two images share once, and links to it.
      name = clean(member.startsWith('/') ? member : posix.join(posix.dirname(name), member));
    }
    throw badImage(`${this.place}: ${JSON.stringify(path)} is a symlink that leads to more symlinks`);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function clean(path: string): string {
  return posix.normalize(`/${path}`).slice(1);
}

async function openArchive(path: string): Promise<FileHandle> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (error) {
    throw new TemplatefsError('FAILED', `cannot read ${path}: ${errnoOf(error) ?? String(error)}`, { hint: 'name a file that `docker save`, `podman save` or skopeo wrote', cause: error });
  }
  throw new TemplatefsError('FAILED', `${path} is no plain file`, { hint: 'an image is read twice, so it cannot come from a pipe: save it to a file first' });
}

async function isCompressed(file: FileHandle): Promise<boolean> {
  const start = Buffer.alloc(6);
  await file.read(start, 0, start.length, 0);
  return [[0x1f, 0x8b], [0x28, 0xb5, 0x2f, 0xfd], [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]].some((magic) => start.subarray(0, magic.length).equals(Buffer.from(magic)));
}

/** @returns a file without a name @throws NO_SPACE through the caller */
async function unpack(file: FileHandle, path: string): Promise<FileHandle> {
  const plain = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    for await (const chunk of decompress(bytesOf(file, 0))) {
      for (let done = 0; done < chunk.length; ) done += (await plain.write(chunk, done)).bytesWritten;
    }
    return plain;
  } catch (error) {
    await plain.close();
    throw error;
  }
}

/** @param sizeBytes to the end of the file if left out */
async function* bytesOf(file: FileHandle, offset: number, sizeBytes = Number.POSITIVE_INFINITY): AsyncGenerator<Buffer> {
  for (let done = 0; done < sizeBytes; ) {
    const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes - done));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, offset + done);
    if (bytesRead === 0) return;
    done += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

async function findMembers(source: AsyncIterable<Buffer>): Promise<Map<string, Member | string>> {
  const bytes = new ByteSource(source);
  try {
    const reader = new TarReader(bytes, { aclIds: NO_ACL_IDS });
    const members = new Map<string, Member | string>();
    for (let member = await reader.next(); member !== undefined; member = await reader.next()) {
      const name = clean(Buffer.from(member.path, 'latin1').toString('utf8'));
      if (member.segments !== undefined) throw badArchive(`${JSON.stringify(name)} is a sparse file, which no image has`, member.offset);
      if (member.kind === 'link') members.set(name, `/${Buffer.from(member.target, 'latin1').toString('utf8')}`);
      else if (isSymlink(member.mode)) members.set(name, Buffer.from(member.target, 'latin1').toString('utf8'));
      else if (isRegular(member.mode)) members.set(name, { offset: bytes.offset, sizeBytes: member.size });
      if (members.size > MAX_FILES) throw badArchive(`it has more than ${MAX_FILES} files; no image has that many`, member.offset);
    }
    return members;
  } finally {
    await bytes.close();
  }
}
