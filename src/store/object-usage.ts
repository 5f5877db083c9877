import { lstatSync } from 'node:fs';
import type { StorePaths } from '../core/store-paths.js';
import { listObjects } from './list-objects.js';

export interface ObjectUsage {
  /** How many objects the store has. */
  readonly objects: number;
  /** Their bytes, holes included. */
  readonly bytes: number;
  /** Bytes that they take on the disk. */
  readonly allocatedBytes: number;
}

/** Adds up all objects of the store; costs a stat for each. Objects that come or go meanwhile may be counted or not. */
export async function objectUsage(paths: StorePaths): Promise<ObjectUsage> {
  let objects = 0;
  let bytes = 0;
  let allocatedBytes = 0;
  for await (const { path, id } of listObjects(paths)) {
    const stat = id === undefined ? undefined : lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() !== true) continue;
    objects += 1;
    bytes += stat.size;
    allocatedBytes += stat.blocks * 512;
  }
  return { objects, bytes, allocatedBytes };
}
