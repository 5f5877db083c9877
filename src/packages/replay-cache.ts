import { createHash } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StorePaths } from '../core/store-paths.js';
import type { ReadTrace } from '../engine/trace.js';
import type { AreaChange } from '../store/area-change.js';
import { readAreaImage, writeAreaImage } from '../store/area-image.js';
import { namesIn } from '../store/folder-names.js';
import type { RawName } from '../store/raw-names.js';
import { makeFolder } from '../store/write-file-durably.js';

/*
 * What transactions have written, kept to be made again in containers that are in the same state: docs/formats/replay.md. A cache: what is
 * missing or broken costs the time that the package manager takes.
 */

const MAGIC = 'templatefs-replay 1';
/** Each takes what a transaction's names and small files take: hundreds of kilobytes. */
const MOST_RECORDS = 64;
/** Of one transaction: containers of many states are not all worth a record. */
const MOST_STATES = 4;

export interface ReplayRecord {
  readonly change: AreaChange;
  /** null: not known, so everything may have been read. */
  readonly trace: ReadTrace | null;
  readonly makesMachineId: boolean;
  /** Content that became links. */
  readonly linkedBytes: number;
}

interface Head {
  readonly before: readonly (readonly [RawName, string])[];
  readonly written: readonly (readonly [RawName, boolean])[];
  readonly asked: readonly RawName[] | null;
  readonly listed: readonly RawName[];
  readonly makesMachineId: boolean;
  readonly linkedBytes: number;
}

function folderOf(paths: StorePaths): string {
  return join(paths.cache, 'replays');
}

/** Equal for transactions that would do the same in equal containers. `parts`: all that they depend on. */
export function replayKey(parts: unknown): string {
  return createHash('sha256').update(JSON.stringify([MAGIC, parts])).digest('hex');
}

/** Records of the same transaction, each of another state before it; the newest first. */
export function replaysOf(paths: StorePaths, key: string): string[] {
  return byAge(folderOf(paths)).filter((name) => name.startsWith(`${key}-`) && !name.includes('.tmp-'));
}

function byAge(folder: string): string[] {
  const times = namesIn(folder).flatMap((name) => {
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    return stat === undefined ? [] : [{ name, time: stat.mtimeMs }];
  });
  return times.sort((a, b) => b.time - a.time).map(({ name }) => name);
}

/** @returns undefined when there is none that can be read */
export function readReplay(paths: StorePaths, name: string): ReplayRecord | undefined {
  try {
    const bytes = readFileSync(join(folderOf(paths), name));
    const first = bytes.indexOf(10);
    const second = bytes.indexOf(10, first + 1);
    if (second < 0) return undefined;
    const [magic, sum] = bytes.toString('latin1', 0, first).split(' sha256 ');
    const rest = bytes.subarray(first + 1);
    if (magic !== MAGIC || sum !== createHash('sha256').update(rest).digest('hex')) return undefined;
    const head = JSON.parse(bytes.toString('latin1', first + 1, second)) as Head;
    return {
      change: { before: new Map(head.before), written: new Map(head.written), after: readAreaImage(bytes.subarray(second + 1)) },
      trace: head.asked === null ? null : { asked: new Set(head.asked), listed: new Set(head.listed) },
      makesMachineId: head.makesMachineId,
      linkedBytes: head.linkedBytes,
    };
  } catch {
    return undefined;
  }
}

/** Not durably: after a power loss it may be missing, or its sum is wrong. */
export function writeReplay(paths: StorePaths, key: string, { change, trace, makesMachineId, linkedBytes }: ReplayRecord): void {
  const folder = folderOf(paths);
  makeFolder(folder);
  const head: Head = {
    before: [...change.before], written: [...change.written], asked: trace === null ? null : [...trace.asked], listed: [...(trace?.listed ?? [])], makesMachineId, linkedBytes,
  };
  // One character a byte, as raw names are.
  const rest = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`, 'latin1'), writeAreaImage(change.after)]);
  const name = `${key}-${createHash('sha256').update(JSON.stringify(head.before)).digest('hex').slice(0, 16)}`;
  const draft = join(folder, `${name}.tmp-${process.pid}`);
  writeFileSync(draft, Buffer.concat([Buffer.from(`${MAGIC} sha256 ${createHash('sha256').update(rest).digest('hex')}\n`), rest]), { mode: 0o600 });
  renameSync(draft, join(folder, name));
  removeOldest(paths, key);
}

function removeOldest(paths: StorePaths, key: string): void {
  const folder = folderOf(paths);
  const tooMany = [...replaysOf(paths, key).slice(MOST_STATES), ...byAge(folder).slice(MOST_RECORDS)];
  for (const name of tooMany) rmSync(join(folder, name), { force: true });
}
