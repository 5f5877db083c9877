import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { formatContainerFile, type ContainerFile } from '../catalog/container-file.js';
import { HeldLocks } from '../catalog/lock.js';
import { formatTemplateFile, readTemplateFile } from '../catalog/template-file.js';
import { TemplatefsError } from '../core/errors.js';
import { AreaStreamReader } from '../store/area-stream.js';
import { BackupReader, BackupWriter, skip } from '../store/backup-file.js';
import { OBJECT_ROW_BYTES, decodeObject, encodeObject, knownObjects, objectsOfArea, readObject } from '../store/backup-objects.js';
import { ByteSource } from '../store/byte-source.js';
import { formatObjectId } from '../store/object-id.js';
import { TreeReader } from '../store/tree-reader.js';
import { lock, openForReading, requireRoot, type ServiceContext } from './context.js';
import { packContainer } from './pack-container.js';

export interface BackupOptions {
  /** A container, or `CT@ID` for one of its snapshots. */
  readonly from: string;
  readonly file: string;
  /** Names of templates, and earlier backups: what they hold is left out, as the other store has it. */
  readonly against: readonly string[];
}

export interface BackedUpContainer {
  readonly container: string;
  readonly file: string;
  readonly bytes: number;
  /** Objects that the container needs, and how many of them are in the file. */
  readonly objects: number;
  readonly includedObjects: number;
  readonly includedBytes: number;
}

/** Head of a backup, as JSON. */
export interface BackupHead {
  readonly container: string;
  readonly template: string | null;
}

/** What another store is said to have. */
interface There {
  readonly objects: Set<string>;
  readonly trees: Set<string>;
}

/**
 * Writes a container, or a snapshot, with all that it needs into one file: docs/formats/backup.md. Works while it runs. The file gets
 * its name when it is whole and durable. Equal containers give equal files.
 *
 * @throws CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, FAILED (files that cannot be read or written), BUSY, INTEGRITY, BAD_TREE, NO_SPACE,
 *   STORE_NOT_WRITABLE, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function backupContainer(context: ServiceContext, { from, file, against }: BackupOptions): Promise<BackedUpContainer> {
  requireRoot('back up a container');
  const { paths, signal } = context;
  const there = await whatIsThere(context, against);
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
  const writer = new BackupWriter(resolve(file));
  try {
    let settings: ContainerFile | undefined;
    await packContainer(context, from, async (found, stream) => {
      settings = found;
      const template = readTemplateFile(paths.templateRecord(found.template));
      const head: BackupHead = { container: formatContainerFile(found), template: template === undefined ? null : formatTemplateFile(template) };
      writer.begin('HEAD');
      writer.add(Buffer.from(JSON.stringify(head), 'utf8'));
      writer.end();
      writer.begin('AREA');
      for await (const piece of stream) writer.add(piece as Buffer);
      writer.end();
    });
    if (settings === undefined) throw new Error('a container was read without its settings');
    const needed = await areaObjects(writer.draft);
    const tree = TreeReader.open(paths.tree(settings.tree));
    try {
      for (const object of tree.objects()) needed.add(formatObjectId(object));
    } finally {
      tree.close();
    }
    writer.begin('TREE');
    if (!there.trees.has(settings.tree)) writer.add(readFileSync(paths.tree(settings.tree)));
    writer.end();
    const objects = knownObjects(paths, needed).map((object) => ({ ...object, included: !there.objects.has(formatObjectId(object)) }));
    writer.begin('OBJS');
    for (const object of objects) writer.add(encodeObject(object));
    writer.end();
    writer.begin('DATA');
    const included = objects.filter((object) => object.included);
    for (const object of included) {
      signal?.throwIfAborted();
      for (const piece of readObject(paths, object)) writer.add(piece);
    }
    writer.end();
    writer.finish();
    return {
      container: from, file: resolve(file), bytes: writer.bytes, objects: objects.length, includedObjects: included.length,
      includedBytes: included.reduce((sum, { size }) => sum + size, 0),
    };
  } catch (error) {
    writer.abandon();
    throw error;
  }
}

/** From the part that is written already: what a stream held is not kept in memory. */
async function areaObjects(draft: string): Promise<Set<string>> {
  const reader = new BackupReader(draft);
  try {
    await skip(await reader.section('HEAD'));
    return await objectsOfArea(new AreaStreamReader(new ByteSource(await reader.section('AREA'))));
  } finally {
    await reader.close();
  }
}

async function whatIsThere({ paths, ...context }: ServiceContext, against: readonly string[]): Promise<There> {
  const there: There = { objects: new Set(), trees: new Set() };
  for (const name of against) {
    using opened = openForReading({ paths, ...context });
    const template = opened.catalog.template(name);
    if (template !== undefined) {
      there.trees.add(template.tree);
      const tree = TreeReader.open(paths.tree(template.tree));
      try {
        for (const object of tree.objects()) there.objects.add(formatObjectId(object));
      } finally {
        tree.close();
      }
      continue;
    }
    await addBackup(name, there);
  }
  return there;
}

async function addBackup(file: string, there: There): Promise<void> {
  const reader = new BackupReader(file);
  try {
    const head: Buffer[] = [];
    for await (const piece of await reader.section('HEAD')) head.push(piece);
    const tree = /^tree ([0-9a-f]{64})$/m.exec((JSON.parse(Buffer.concat(head).toString()) as BackupHead).container)?.[1];
    if (tree !== undefined) there.trees.add(tree);
    await skip(await reader.section('AREA'));
    await skip(await reader.section('TREE'));
    const rows = new ByteSource(await reader.section('OBJS'));
    for (let row = await rows.take(OBJECT_ROW_BYTES); row.length === OBJECT_ROW_BYTES; row = await rows.take(OBJECT_ROW_BYTES)) {
      const object = decodeObject(row);
      if (object !== undefined) there.objects.add(formatObjectId(object));
    }
  } catch (cause) {
    throw new TemplatefsError('FAILED', `--against ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: 'name a template of this store that the other has, too, or a backup that was restored there',
      cause,
    });
  } finally {
    await reader.close();
  }
}
