import { join } from 'node:path';
import type { StorePaths } from '../core/store-paths.js';

/** Names one object: the fingerprint of its content, and which of the contents with that fingerprint it is. */
export interface ObjectId {
  /** XXH3-128 of the bytes in canonical order: 32 lower-case hex digits. */
  readonly hash: string;
  /** 0, or the number of the suffix when several contents share one hash; 0 … 2^32 − 1. */
  readonly variant: number;
}

/** What a tree says of an object. */
export interface ObjectReference extends ObjectId {
  /** Bytes of content, at least 1. */
  readonly size: number;
}

export const MAX_VARIANT = 0xffff_ffff;

const OBJECT_ID = /^([0-9a-f]{32})(?:\.([1-9][0-9]{0,9}))?$/;

/** The text form that file names, dumps and messages use: `HASH`, or `HASH.VARIANT` if the variant is not 0. */
export function formatObjectId(id: ObjectId): string {
  return id.variant === 0 ? id.hash : `${id.hash}.${id.variant}`;
}

/** Reads what `formatObjectId` writes; undefined for anything else, so also for a second spelling of the same id. */
export function parseObjectId(text: string): ObjectId | undefined {
  const match = OBJECT_ID.exec(text);
  if (match?.[1] === undefined) return undefined;
  const variant = match[2] === undefined ? 0 : Number(match[2]);
  return variant > MAX_VARIANT ? undefined : { hash: match[1], variant };
}

/** The object's path below a folder of objects: two hex digits, then the rest of its name. */
export function objectPathIn(objectsFolder: string, id: ObjectId): string {
  return `${objectsFolder}/${id.hash.slice(0, 2)}/${formatObjectId(id).slice(2)}`;
}

/** The object's path in the store. */
export function objectPath(paths: StorePaths, id: ObjectId): string {
  return objectPathIn(join(paths.objects), id);
}
