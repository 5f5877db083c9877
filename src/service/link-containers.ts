import { relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LinkSettings } from '../core/link-policy.js';
import type { LinkTotals, LinkedFiles } from '../dedup/linked-files.js';
import { readLinkSummary, type LinkSummary } from '../dedup/link-summary.js';
import { fileState, formatSettled, type FileState } from '../dedup/settled-file.js';
import type { SkippedFile } from '../dedup/candidate.js';
import type { StorePaths } from '../core/store-paths.js';
import { printableName } from '../store/raw-names.js';
import { replaceFile } from '../store/write-file-durably.js';
import { changeMark } from './change-mark.js';
import { openForReading, openForWriting, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { linkPolicyOf, policyKey, type ContainerLinkPolicy } from './link-policy.js';
import { objectsGeneration } from './object-totals.js';
import { isTemporary } from './temporary-name.js';

export interface LinkContainersOptions {
  /** undefined: all. */
  readonly names?: readonly string[];
  /** Changes nothing, and says what would be done. */
  readonly dryRun?: boolean;
  /** Looks at everything, whatever earlier runs have found out. */
  readonly full?: boolean;
  readonly settings?: LinkSettings;
  /** Bits of fingerprints that count: fewer only in tests. */
  readonly hashBits?: number;
  /** Called before anything is read, if anything is. */
  readonly onWork?: () => void;
}

export interface LinkedContainers extends LinkTotals {
  readonly dryRun: boolean;
  readonly containers: number;
  /** Of those, so many in which nothing had changed. */
  readonly unchanged: number;
  readonly seconds: number;
  readonly skipped: readonly { readonly container: string; readonly path: string; readonly reason: string }[];
  /** Containers that could not be looked at. */
  readonly failed: readonly { readonly container: string; readonly reason: string }[];
}

/** What is known of containers before anything of them is read. */
export interface LinkRunInput {
  readonly names: readonly string[];
  readonly marks: ReadonlyMap<string, string | null>;
  readonly policies: ReadonlyMap<string, ContainerLinkPolicy>;
  readonly summary: LinkSummary;
  readonly useCache: boolean;
}

/** What a run has done. */
export interface LinkRunResult {
  readonly linked: LinkedFiles;
  readonly unchanged: number;
  readonly skipped: readonly SkippedFile[];
  readonly failed: LinkedContainers['failed'];
}

/** Engines that are asked at once. */
const ASKED_AT_ONCE = 16;

/**
 * Makes links of private files that are equal to objects or, across these containers, to one another. Containers that are not
 * mounted are mounted for the time, if there is anything to do in them.
 *
 * @throws CONTAINER_NOT_FOUND, BUSY (another run), NO_SPACE, STORE_NOT_WRITABLE, ENGINE_FAILED, INTERRUPTED, INTEGRITY
 */
export async function linkContainers(context: ServiceContext, options: LinkContainersOptions = {}): Promise<LinkedContainers> {
  const started = performance.now();
  // A run with weakened fingerprints must not leave them to others.
  const useCache = options.full !== true && options.hashBits === undefined;
  let found = await look(context, options, useCache);
  if (!found.isSettled && options.dryRun !== true) {
    // What killed commands have left unfinished goes first, whole containers among it.
    (await openForWriting(context))[Symbol.dispose]();
    found = await look(context, options, useCache);
  }
  const { input, isSettled } = found;
  const { names } = input;
  const result = isSettled ? unchangedResult(input.summary, names) : await run(context, options, input);
  return summarize({ dryRun: options.dryRun === true, names, seconds: Math.round(performance.now() - started) / 1000 }, result);
}

function summarize(run: { readonly dryRun: boolean; readonly names: readonly string[]; readonly seconds: number }, result: LinkRunResult): LinkedContainers {
  const { linked, unchanged, skipped, failed } = result;
  const { adoptedFiles, mergedFiles, keptFiles, addedBytes, linkedBytes, savedBytes, readBytes } = linked;
  return {
    dryRun: run.dryRun,
    containers: run.names.length,
    unchanged,
    adoptedFiles,
    mergedFiles,
    keptFiles,
    addedBytes,
    linkedBytes,
    savedBytes,
    readBytes,
    seconds: run.seconds,
    skipped: [...skipped, ...linked.skipped].map(({ container, path, reason }) => ({ container, path: printableName(path), reason })),
    failed,
  };
}

/** The containers, and whether nothing has changed in any since the last run. */
async function look(context: ServiceContext, options: LinkContainersOptions, useCache: boolean): Promise<{ input: LinkRunInput; isSettled: boolean }> {
  const { names, generation } = lookUp(context, options.names);
  const summary: LinkSummary = useCache ? readLinkSummary(context.paths.linkSummary) : { generation: -1, containers: {} };
  const policies = new Map(names.map((name) => [name, linkPolicyOf(context, name, options.settings ?? {})]));
  const marks = await marksOf(context, names);
  const isSettled =
    summary.generation === generation &&
    names.every((name) => {
      const mark = marks.get(name) ?? null;
      const policy = policies.get(name);
      const before = summary.containers[name];
      return mark !== null && before?.mark === mark && policy !== undefined && before.policy === policyKey(policy) && !before.again;
    });
  return { input: { names, marks, policies, summary, useCache }, isSettled };
}

/** The kernel may give two changes of a file one time when they are closer together than a tick, of up to 10 ms. */
const TICK_MS = 12;
const SETTLED_TRIES = 3;

/**
 * Keeps for the engine's binary what it needs to see that a run over all containers has nothing to do, if that is so.
 * @param text what the command says then
 */
export async function keepSettled(context: ServiceContext, text: (done: LinkedContainers) => string): Promise<void> {
  const { paths } = context;
  for (let tries = 0; tries < SETTLED_TRIES; tries += 1) {
    const { names } = lookUp(context, undefined);
    const newestMs = Math.max(...settledFiles(paths, names).map(({ changedMs }) => changedMs));
    await sleep(Math.max(0, newestMs + TICK_MS - Date.now()));
    const files = settledFiles(paths, names);
    const { input, isSettled } = await look(context, {}, true);
    if (!isSettled) return;
    const marks = new Map([...input.marks].map(([name, mark]) => [name, mark ?? '']));
    // Nothing of it has changed while it was looked at, so it belongs together.
    if (files.every(({ changedMs }) => changedMs <= newestMs) && JSON.stringify(settledFiles(paths, input.names)) === JSON.stringify(files)) {
      replaceFile(paths.linkSettled, formatSettled({ files, marks, text: text(unchangedRun(input)) }));
      return;
    }
  }
}

function settledFiles(paths: StorePaths, names: readonly string[]): FileState[] {
  const files = [paths.catalog, `${paths.catalog}-wal`, paths.config, ...names.map((name) => paths.containerFile(name))];
  return files.map((file) => fileState(paths.store, relative(paths.store, file)));
}

function unchangedRun({ summary, names }: LinkRunInput): LinkedContainers {
  return summarize({ dryRun: false, names, seconds: 0 }, unchangedResult(summary, names));
}

function lookUp(context: ServiceContext, names: readonly string[] | undefined): { names: readonly string[]; generation: number } {
  using opened = openForReading(context);
  const generation = objectsGeneration(opened.catalog);
  if (names === undefined) return { names: opened.catalog.containers().map(({ name }) => name).filter((name) => !isTemporary(name)), generation };
  return { names: [...new Set(names)].map((name) => findContainer(opened.catalog, name).name), generation };
}

async function marksOf({ paths }: ServiceContext, names: readonly string[]): Promise<Map<string, string | null>> {
  const marks = new Map<string, string | null>();
  for (let at = 0; at < names.length; at += ASKED_AT_ONCE) {
    const asked = names.slice(at, at + ASKED_AT_ONCE);
    const answers = await Promise.all(asked.map((name) => changeMark(paths, name)));
    for (const [index, name] of asked.entries()) marks.set(name, answers[index] ?? null);
  }
  return marks;
}

function unchangedResult({ containers }: LinkSummary, names: readonly string[]): LinkRunResult {
  const skipped = names.flatMap((container) => (containers[container]?.skipped ?? []).map(([path, reason]) => ({ container, path, reason })));
  const linked: LinkedFiles = {
    adoptedFiles: 0, mergedFiles: 0, keptFiles: 0, addedBytes: 0, linkedBytes: 0, savedBytes: 0, readBytes: 0, skipped: [], left: [], kept: [], objects: [], newObjects: { objects: 0, allocatedBytes: 0 }, again: [],
  };
  return { linked, unchanged: names.length, skipped, failed: [] };
}

/** To load what works takes longer than to see that there is nothing to do. */
async function run(context: ServiceContext, options: LinkContainersOptions, input: LinkRunInput): Promise<LinkRunResult> {
  options.onWork?.();
  const { LinkRun } = await import('./link-run.js');
  const { EngineLauncher } = await import('../engine/engine-launcher.js');
  // Each container is mounted, or found to be: a fork of this process takes several times as long as that.
  using launcher = new EngineLauncher();
  return await new LinkRun({ ...context, launcher }, options, input).run();
}
