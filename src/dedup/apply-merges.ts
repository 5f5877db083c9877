import { setTimeout as sleep } from 'node:timers/promises';
import { TemplatefsError } from '../core/errors.js';
import { controlRequest, isNobodyThere } from '../engine/control-client.js';
import { formatObjectId, type ObjectId } from '../store/object-id.js';
import type { Candidate } from './candidate.js';
import type { ReadingPace } from './reading-pace.js';

/** A file and the object that it is believed to be equal to. */
export interface Merge {
  readonly candidate: Candidate;
  readonly object: ObjectId;
}

export type MergeOutcome =
  /** It is a link. `freedBytes` of the private area are given back; 0 also if an interrupted try had done it. */
  | { readonly kind: 'merged'; readonly freedBytes: number }
  /** It is a link, and keeps its content until nobody has it open or mapped any more. */
  | { readonly kind: 'kept' }
  | { readonly kind: 'skipped'; readonly reason: string };

export interface ApplyOptions<Asked extends Merge> {
  readonly socket: string;
  /** How long one request may keep the engine from serving its root. */
  readonly budgetUs: number;
  readonly pace: ReadingPace;
  readonly signal?: AbortSignal;
  readonly onDone?: (merge: Asked, outcome: MergeOutcome) => void;
}

const FIRST_ENTRIES = 16;
const MOST_ENTRIES = 512;
/** A worker that was killed is replaced at once. */
const TRIES = 50;
const TRY_AGAIN_MS = 20;
const FROZEN_TRIES = 3_500;

/**
 * Lets the engine make links of files, one outcome for each in its order. Each of its requests does as much as the time
 * allows; what was done and not answered, because a worker was killed, is found done when it is asked for again.
 *
 * @throws ENGINE_FAILED (also for an engine that has ended), INTERRUPTED
 */
export async function applyMerges<Asked extends Merge>(
  merges: readonly Asked[],
  { socket, budgetUs, pace, signal, onDone }: ApplyOptions<Asked>,
): Promise<MergeOutcome[]> {
  const outcomes: MergeOutcome[] = [];
  let entries = FIRST_ENTRIES;
  /** Of the first file that is not done: how much of it was compared before. */
  let offset = 0;
  while (outcomes.length < merges.length) {
    signal?.throwIfAborted();
    const asked = firstBytes(merges.slice(outcomes.length, outcomes.length + entries), pace.burstBytes);
    const answers = await ask(socket, budgetUs, asked, signal);
    let done = 0;
    let bytes = 0;
    for (const [index, merge] of asked.entries()) {
      const answer = answers.get(String(index));
      const outcome = readOutcome(answer);
      // The rest of a large file, or those that there was no time for, come with the next request.
      if (outcome === undefined) {
        const compared = Number(/^more (\d+)$/.exec(answer ?? '')?.[1] ?? 0);
        bytes += Math.max(0, compared - offset);
        offset = compared;
        break;
      }
      bytes += Math.max(0, merge.candidate.sizeBytes - offset);
      offset = 0;
      outcomes.push(outcome);
      onDone?.(merge, outcome);
      done += 1;
    }
    entries = Math.min(MOST_ENTRIES, Math.max(FIRST_ENTRIES, done * 2));
    // The file's and the object's.
    await pace.read(2 * bytes, signal);
  }
  return outcomes;
}

/** The first of them, until they have so many bytes; at least one. */
function firstBytes<Asked extends Merge>(merges: readonly Asked[], most: number): readonly Asked[] {
  let bytes = 0;
  const end = merges.findIndex(({ candidate: { sizeBytes } }, index) => (bytes += sizeBytes) > most && index > 0);
  return end < 0 ? merges : merges.slice(0, end);
}

async function ask(socket: string, budgetUs: number, merges: readonly Merge[], signal: AbortSignal | undefined): Promise<ReadonlyMap<string, string>> {
  const fields = ['merge', `budget=${budgetUs}`, ...merges.map(formatEntry)];
  for (let tries = 1; ; tries += 1) {
    try {
      return await controlRequest(socket, fields, { timeoutMs: 60_000, encoding: 'latin1', ...(signal !== undefined && { signal }) });
    } catch (error) {
      signal?.throwIfAborted();
      const mayHaveDied = error instanceof TemplatefsError && error.code === 'ENGINE_FAILED';
      // Frozen for a snapshot, for a minute at most.
      const isFrozen = error instanceof TemplatefsError && error.code === 'BUSY';
      if (!(mayHaveDied && tries < TRIES) && !(isFrozen && tries < FROZEN_TRIES)) throw isNobodyThere(error) ? deadEngine(merges, error) : error;
      await sleep(TRY_AGAIN_MS);
    }
  }
}

/** Its holder is gone, too: nobody will replace the worker. */
function deadEngine([first]: readonly Merge[], cause: unknown): TemplatefsError {
  return new TemplatefsError('ENGINE_FAILED', `the engine of ${first?.candidate.container ?? 'the container'} has ended`, {
    hint: 'run the command again: it mounts the container anew',
    cause,
  });
}

function formatEntry({ candidate, object }: Merge): string {
  const { inode, sizeBytes, mtimeSeconds, mtimeNanoseconds, path } = candidate;
  return `${inode} ${sizeBytes} ${mtimeSeconds}.${String(mtimeNanoseconds).padStart(9, '0')} ${formatObjectId(object)} ${path}`;
}

/** undefined: not done yet. @throws ENGINE_FAILED for an answer that is none */
function readOutcome(text: string | undefined): MergeOutcome | undefined {
  if (text === undefined) return undefined;
  const space = text.indexOf(' ');
  const word = space < 0 ? text : text.slice(0, space);
  const rest = space < 0 ? '' : text.slice(space + 1);
  switch (word) {
    case 'more':
      return undefined;
    case 'merged':
      return { kind: 'merged', freedBytes: Number(rest) };
    case 'kept':
      return { kind: 'kept' };
    case 'skipped':
    case 'failed':
      return { kind: 'skipped', reason: rest };
    default:
      throw new TemplatefsError('ENGINE_FAILED', `the engine answers a merge with ${JSON.stringify(text.slice(0, 80))}`, {
        hint: 'build the engine and the control plane together: npm run build',
      });
  }
}
