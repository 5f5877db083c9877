import { createHash } from 'node:crypto';
import { closeSync, constants, existsSync, linkSync, lstatSync, openSync, rmSync, writeSync, fsyncSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Catalog } from '../catalog/catalog.js';
import { formatContainerFile, parseContainerFile, type ContainerFile } from '../catalog/container-file.js';
import { HeldLocks } from '../catalog/lock.js';
import { formatTemplateFile, parseTemplateFile, type TemplateFile } from '../catalog/template-file.js';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import { checkContainerName, checkTemplateName } from '../core/names.js';
import type { StorePaths } from '../core/store-paths.js';
import { makeAreaFolder } from '../engine/area-folder.js';
import { unpackArea } from '../engine/pack-area.js';
import { AreaStreamReader } from '../store/area-stream.js';
import { BackupReader, skip } from '../store/backup-file.js';
import { OBJECT_ROW_BYTES, decodeObject, readObject, type BackupObject } from '../store/backup-objects.js';
import { ByteSource } from '../store/byte-source.js';
import { expectedContents } from '../store/content-sums.js';
import { isFolder } from '../store/inode-types.js';
import { makeFolders } from '../store/make-folders.js';
import { ObjectBatch, SMALL_FILE_BYTES } from '../store/object-batch.js';
import { formatObjectId, objectPath } from '../store/object-id.js';
import { ensureStaging, removeStaleStaging, stagingPath } from '../store/staging.js';
import { TreeReader } from '../store/tree-reader.js';
import { verifyTree } from '../store/tree-verify.js';
import { makeFolder, syncFolder, writeFileDurably } from '../store/write-file-durably.js';
import type { BackupHead } from './backup-container.js';
import { lock, openForWriting, requireRoot, type ServiceContext } from './context.js';
import { lockSubject } from './find-record.js';
import { draftArea, journaled, moveFolder } from './journal.js';
import { noteObjectsChange } from './object-totals.js';

const MAX_HEAD_BYTES = 1 << 20;
const MAX_TREE_BYTES = 2 ** 34;

export interface RestoreBackupOptions {
  readonly file: string;
  /** undefined: the name that it had. */
  readonly name?: string;
}

export interface RestoredBackup {
  readonly name: string;
  readonly ostemplate: string;
  readonly tree: string;
  readonly newObjects: number;
  readonly newBytes: number;
}

/**
 * Makes a container of a backup, in this store or another one. Everything is checked before the container appears: the file by its
 * sum, each content by its fingerprint and SHA-256, also those that this store has already, the tree, and every entry.
 *
 * @throws USAGE, CONTAINER_EXISTS, INTEGRITY, BAD_TREE, FAILED, BUSY, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function restoreBackup(context: ServiceContext, options: RestoreBackupOptions): Promise<RestoredBackup> {
  requireRoot('restore a backup');
  const { paths, signal } = context;
  const reader = new BackupReader(options.file);
  try {
    const { settings, template } = await readHead(reader, options.file);
    const name = checkContainerName(options.name ?? settings.name);
    using opened = await openForWriting(context);
    const { catalog } = opened;
    using locks = new HeldLocks();
    locks.hold(await lockSubject(context, catalog, 'template', settings.template));
    locks.hold(await lockSubject(context, catalog, 'container', name));
    if (catalog.container(name) !== undefined) {
      throw new TemplatefsError('CONTAINER_EXISTS', `there is a container ${name} already`, { hint: 'choose another name with --name, or remove it with `templatefs destroy`' });
    }
    await removeStaleStaging(paths);
    locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
    noteObjectsChange(catalog);
    let added = { newObjects: 0, newBytes: 0 };
    await journaled(paths, catalog, 'clone-container', name, async (entry) => {
      const draft = draftArea(paths, entry);
      await makeAreaFolder(draft);
      await unpackArea(draft, Readable.from(await reader.section('AREA')), signal);
      const staged = await stageTree(context, reader, settings.tree);
      try {
        const objects = await readObjects(reader);
        added = await addObjects(context, reader, objects);
        await reader.end();
        const tree = TreeReader.open(staged ?? paths.tree(settings.tree));
        try {
          checkTreeObjects(tree, objects, reader);
          await checkArea(options.file, tree, objects);
        } finally {
          tree.close();
        }
        if (staged !== undefined) placeTree(paths, staged, settings.tree);
      } finally {
        if (staged !== undefined) rmSync(staged, { force: true });
      }
      await addTemplate(paths, catalog, settings, template);
      writeFileDurably(join(draft, 'container'), formatContainerFile({ ...settings, name }));
      syncFolder(draft);
      signal?.throwIfAborted();
      moveFolder(draft, paths.privateArea(name), paths.privateAreas);
    });
    return { name, ostemplate: settings.template, tree: settings.tree, ...added };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && error instanceof Error && 'path' in error && error.path === options.file) {
      throw new TemplatefsError('FAILED', `cannot read ${options.file}: ENOENT`, { hint: 'name a file that `templatefs backup` made', cause: error });
    }
    throw error;
  } finally {
    await reader.close();
  }
}

async function readHead(reader: BackupReader, file: string): Promise<{ settings: ContainerFile; template: TemplateFile | null }> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of await reader.section('HEAD')) {
    size += piece.length;
    if (size > MAX_HEAD_BYTES) throw reader.refuse('its head is too long');
    pieces.push(piece);
  }
  let head: Partial<BackupHead>;
  try {
    head = JSON.parse(Buffer.concat(pieces).toString('utf8')) as Partial<BackupHead>;
  } catch {
    throw reader.refuse('its head is no JSON');
  }
  if (typeof head.container !== 'string' || (head.template !== null && typeof head.template !== 'string')) throw reader.refuse('its head has not what it should');
  const settings = parseContainerFile(head.container, file);
  checkTemplateName(settings.template);
  const template = head.template === null ? null : parseTemplateFile(head.template, file);
  return { settings, template: template?.name === settings.template ? template : null };
}

/** @returns the staged image; undefined where the backup was made without it, and the store has it */
async function stageTree({ paths }: ServiceContext, reader: BackupReader, digest: string): Promise<string | undefined> {
  ensureStaging(paths);
  const staged = stagingPath(paths, 'tree');
  const sum = createHash('sha256');
  let size = 0;
  const fd = openSync(staged, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400);
  try {
    for await (const piece of await reader.section('TREE')) {
      size += piece.length;
      if (size > MAX_TREE_BYTES) throw reader.refuse('its tree is too long');
      sum.update(piece);
      for (let done = 0; done < piece.length; ) done += writeSync(fd, piece, done);
    }
    fsyncSync(fd);
    if (size > 0 && sum.digest('hex') !== digest) throw reader.refuse('its tree is another than its container stands on');
    if (size > 0) verifyTree(staged);
  } catch (error) {
    rmSync(staged, { force: true });
    throw storeWriteError(error, `a tree in ${paths.trees}`);
  } finally {
    closeSync(fd);
  }
  if (size > 0) return staged;
  rmSync(staged);
  if (existsSync(paths.tree(digest))) return undefined;
  throw new TemplatefsError('INTEGRITY', `the backup was made without its tree ${digest}, and this store has no such tree`, { hint: 'make the backup without --against, or bring the template first' });
}

async function readObjects(reader: BackupReader): Promise<Map<string, BackupObject>> {
  const objects = new Map<string, BackupObject>();
  const rows = new ByteSource(await reader.section('OBJS'));
  for (;;) {
    const row = await rows.take(OBJECT_ROW_BYTES);
    if (row.length === 0) return objects;
    const object = row.length === OBJECT_ROW_BYTES ? decodeObject(row) : undefined;
    if (object === undefined) throw reader.refuse('its table of objects is broken');
    objects.set(formatObjectId(object), object);
  }
}

/** Contents of the backup become objects; those that it leaves out must be here already, with the same bytes. */
async function addObjects(context: ServiceContext, reader: BackupReader, objects: ReadonlyMap<string, BackupObject>): Promise<{ newObjects: number; newBytes: number }> {
  const { paths, signal } = context;
  checkPresent(paths, [...objects.values()].filter(({ included }) => !included));
  const included = [...objects.values()].filter((object) => object.included);
  const data = new ByteSource(await reader.section('DATA'));
  const fill = async (target: Buffer): Promise<void> => {
    if ((await data.fill(target)) !== target.length) throw reader.refuse('a content is cut short');
  };
  const batch = await ObjectBatch.open(paths);
  try {
    for (const { size } of included) {
      signal?.throwIfAborted();
      if (size <= SMALL_FILE_BYTES) {
        await batch.addSmall(size, fill);
        continue;
      }
      batch.expect(size);
      const stream = batch.openStream();
      await stream.data(size, fill);
      stream.end();
    }
    if ((await data.take(1)).length > 0) throw reader.refuse('it has contents that its table does not name');
    const committed = await batch.commit();
    for (const [ticket, wanted] of included.entries()) {
      const index = committed.objectOf[ticket] ?? -1;
      const found = committed.objects[index];
      if (found === undefined || !committed.sums.get(index).equals(wanted.sum)) throw reader.refuse(`the content of object ${formatObjectId(wanted)} is another`);
      if (formatObjectId(found) !== formatObjectId(wanted)) throw otherContent(wanted);
    }
    return { newObjects: committed.newObjects, newBytes: committed.newBytes };
  } finally {
    await batch.abandon();
  }
}

function otherContent(object: BackupObject): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `this store has another content under the name of object ${formatObjectId(object)}`, {
    hint: 'the fingerprint of two contents is the same, which does not happen by chance; restore into another store',
  });
}

function checkPresent(paths: StorePaths, objects: readonly BackupObject[]): void {
  const expected = expectedContents(paths, new Set(objects.map(formatObjectId)));
  for (const object of objects) {
    const id = formatObjectId(object);
    const stat = lstatSync(objectPath(paths, object), { throwIfNoEntry: false });
    if (stat?.isFile() !== true) {
      throw new TemplatefsError('INTEGRITY', `the backup was made without object ${id}, and this store does not have it`, { hint: 'make the backup with less --against' });
    }
    if (stat.size !== object.size) throw otherContent(object);
    let known = expected.get(id)?.sum;
    if (known === undefined) {
      const sum = createHash('sha256');
      for (const piece of readObject(paths, object)) sum.update(piece);
      known = sum.digest();
    }
    if (!known.equals(object.sum)) throw otherContent(object);
  }
}

function checkTreeObjects(tree: TreeReader, objects: ReadonlyMap<string, BackupObject>, reader: BackupReader): void {
  for (const object of tree.objects()) {
    if (objects.get(formatObjectId(object))?.size !== object.size) throw reader.refuse(`its table does not name object ${formatObjectId(object)} of its tree`);
  }
}

/** What the engine could not check: what the area says of the tree and of objects. */
async function checkArea(file: string, tree: TreeReader, objects: ReadonlyMap<string, BackupObject>): Promise<void> {
  const reader = new BackupReader(file);
  try {
    await skip(await reader.section('HEAD'));
    const area = new AreaStreamReader(new ByteSource(await reader.section('AREA')));
    for (let record = await area.next(); record.kind !== 'end'; record = await area.next()) {
      const node = 'inode' in record ? record.inode.node : undefined;
      if (node === undefined || !('inode' in record)) continue;
      const { origin, object, kind } = node;
      if (origin !== undefined && (origin >= tree.header.nodeCount || isFolder(tree.node(origin).mode) !== isFolder(record.inode.metadata.mode))) {
        throw reader.refuse(`an entry comes from node ${origin} of its tree, which is not like it`);
      }
      if (object === undefined) continue;
      const size = objects.get(formatObjectId(object))?.size;
      if (size === undefined || object.bytes > size || (kind === 'link' && object.bytes !== size)) throw reader.refuse(`an entry shows what object ${formatObjectId(object)} does not have`);
    }
  } finally {
    await reader.close();
  }
}

function placeTree(paths: StorePaths, staged: string, digest: string): void {
  makeFolders(paths.trees);
  try {
    linkSync(staged, paths.tree(digest));
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw storeWriteError(error, `a tree in ${paths.trees}`);
  }
  syncFolder(paths.trees);
}

/** A store that has a template of that name keeps it: the container stands on its own tree. */
async function addTemplate(paths: StorePaths, catalog: Catalog, settings: ContainerFile, template: TemplateFile | null): Promise<void> {
  if (catalog.template(settings.template) !== undefined) return;
  const reader = TreeReader.open(paths.tree(settings.tree));
  const { regularCount, contentBytes } = reader.header;
  reader.close();
  const record: TemplateFile = template?.tree === settings.tree ? template : {
    name: settings.template, version: 1, tree: settings.tree, files: regularCount, bytes: Number(contentBytes), created: settings.created,
    source: `recovered from container ${settings.name}`, definition: template?.definition ?? null, shared: template?.shared ?? null,
  };
  makeFolder(paths.templates);
  await journaled(paths, catalog, 'add-template', settings.template, () => { writeFileDurably(paths.templateRecord(settings.template), formatTemplateFile(record)); });
}
