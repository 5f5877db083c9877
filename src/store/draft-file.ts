import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { processStart } from '../catalog/process-identity.js';
import { syncFolder } from './write-file-durably.js';

/*
 * Files for people, in folders of theirs, are written beside their name and get it when they are whole and durable. What a killed
 * command left beside it goes when the same file is written again.
 */

/** @returns where a file is written until it has its name; drafts of processes that have gone are removed */
export function beginDraft(path: string): string {
  removeLeftDrafts(path);
  return draftOf(path);
}

function draftOf(path: string): string {
  return `${path}.tmp-${process.pid}`;
}

/** Whether a name is that of a draft that nobody is writing any more. */
export function isLeftDraft(name: string): boolean {
  const pid = /\.tmp-([1-9]\d{0,9})$/.exec(name)?.[1];
  return pid !== undefined && processStart(Number(pid)) === undefined;
}

/** Makes a draft durable and gives it its name. */
export function publishDraft(draft: string, path: string): void {
  const fd = openSync(draft, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, path);
  syncFolder(dirname(path));
}

function removeLeftDrafts(path: string): void {
  const folder = dirname(path);
  const own = draftOf(path);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    // Whoever makes the draft says what is wrong with the folder.
    return;
  }
  for (const name of names.filter((each) => each.startsWith(`${basename(path)}.tmp-`))) {
    // One with this process's number is of an earlier process that had it.
    if (isLeftDraft(name) || name === basename(own)) rmSync(join(folder, name), { force: true });
  }
}
