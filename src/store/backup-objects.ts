import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import type { AreaStreamReader } from './area-stream.js';
import { readFully } from './compare-content.js';
import { SUM_BYTES, expectedContents } from './content-sums.js';
import { formatObjectId, objectPath, parseObjectId, type ObjectReference } from './object-id.js';

/** One row of a backup's table of objects. */
export interface BackupObject extends ObjectReference {
  readonly sum: Buffer;
  /** Whether its content is in the backup. */
  readonly included: boolean;
}

export const OBJECT_ROW_BYTES = 64;
const PIECE_BYTES = 1 << 20;

export function encodeObject({ hash, variant, size, sum, included }: BackupObject): Buffer {
  const row = Buffer.alloc(OBJECT_ROW_BYTES);
  row.write(hash, 0, 16, 'hex');
  row.writeUInt32LE(variant, 16);
  row.writeUInt32LE(included ? 1 : 0, 20);
  row.writeBigUInt64LE(BigInt(size), 24);
  sum.copy(row, 32);
  return row;
}

/** @returns undefined for what {@link encodeObject} does not write */
export function decodeObject(row: Buffer): BackupObject | undefined {
  const size = Number(row.readBigUInt64LE(24));
  const flags = row.readUInt32LE(20);
  if (size === 0 || !Number.isSafeInteger(size) || flags > 1) return undefined;
  return { hash: row.toString('hex', 0, 16), variant: row.readUInt32LE(16), size, sum: Buffer.from(row.subarray(32, 32 + SUM_BYTES)), included: flags === 1 };
}

/** Ids of the objects that links and partial files of an area name. */
export async function objectsOfArea(area: AreaStreamReader): Promise<Set<string>> {
  const ids = new Set<string>();
  for (let record = await area.next(); record.kind !== 'end'; record = await area.next()) {
    const object = 'inode' in record ? record.inode.node?.object : undefined;
    if (object !== undefined) ids.add(formatObjectId(object));
  }
  return ids;
}

/** The bytes of an object of the store, in pieces. @throws INTEGRITY when it is missing */
export function* readObject(paths: StorePaths, object: ObjectReference): Generator<Buffer> {
  let fd: number;
  try {
    fd = openSync(objectPath(paths, object), 'r');
  } catch (cause) {
    throw new TemplatefsError('INTEGRITY', `object ${formatObjectId(object)} cannot be read`, { hint: 'run `templatefs verify` to see what is broken', cause });
  }
  try {
    const buffer = Buffer.alloc(Math.min(PIECE_BYTES, object.size));
    for (let at = 0; at < object.size; ) {
      const count = readFully(fd, buffer.subarray(0, Math.min(buffer.length, object.size - at)), at);
      if (count === 0) throw new TemplatefsError('INTEGRITY', `object ${formatObjectId(object)} is shorter than it should be`, { hint: 'run `templatefs verify`' });
      yield buffer.subarray(0, count);
      at += count;
    }
  } finally {
    closeSync(fd);
  }
}

/** Size and SHA-256 of objects of the store, sorted by id; what no tree says of them is found by reading them. @throws INTEGRITY */
export function knownObjects(paths: StorePaths, ids: ReadonlySet<string>): Omit<BackupObject, 'included'>[] {
  const expected = expectedContents(paths, ids);
  return [...ids].sort(compareIds).map((id) => {
    const object = parseObjectId(id);
    if (object === undefined) throw new Error(`no object id: ${id}`);
    const stat = lstatSync(objectPath(paths, object), { throwIfNoEntry: false });
    if (stat === undefined) throw new TemplatefsError('INTEGRITY', `object ${id} is missing`, { hint: 'run `templatefs verify --repair`' });
    const reference = { ...object, size: stat.size };
    const known = expected.get(id)?.sum;
    if (known !== undefined) return { ...reference, sum: known };
    const sum = createHash('sha256');
    for (const piece of readObject(paths, reference)) sum.update(piece);
    return { ...reference, sum: sum.digest() };
  });
}

function compareIds(a: string, b: string): number {
  const [hashA, variantA] = [a.slice(0, 32), Number(a.slice(33))];
  const [hashB, variantB] = [b.slice(0, 32), Number(b.slice(33))];
  if (hashA !== hashB) return hashA < hashB ? -1 : 1;
  return variantA - variantB;
}
