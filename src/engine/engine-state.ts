import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../core/errors.js';
import { parseIdRange, type IdMaps, type IdRange } from '../core/id-map.js';
import { parseKeyValues } from '../core/key-value-text.js';
import type { StorePaths } from '../core/store-paths.js';
import { bootId, processStart } from '../catalog/process-identity.js';
import { controlRequest } from './control-client.js';
import { isEngineMount, readMounts, readMountsOf, type MountEntry } from './mount-table.js';

/** `run/<ct>/engine`: what a running engine says about itself. */
export interface EngineFile {
  readonly holder: number;
  readonly worker: number;
  readonly mountpoint: string;
  /** null: an engine from before it said so. */
  readonly version: string | null;
  /** The form of its shared state: docs/protocols/handover.md. null: it cannot hand its root over. */
  readonly stateVersion: number | null;
  readonly boot: string;
  /** `yes` or `no: REASON`. */
  readonly passthrough: string;
  /** For /sys/fs/fuse/connections. */
  readonly connection: number | null;
  /** How ids are mapped at the mount point; null: not at all. */
  readonly ids: IdMaps | null;
}

/**
 * What is found of a container's engine. `dead` is left from a crash or a reboot and must be cleared away before the
 * container can be mounted again.
 */
export type EngineState =
  | { readonly state: 'stopped' }
  | { readonly state: 'mounted'; readonly engine: EngineFile }
  | DeadEngine;

/** What a crash or a reboot left. */
export interface DeadEngine {
  readonly state: 'dead';
  /** Its last engine file, if it can be read. */
  readonly engine: EngineFile | null;
  /** Whether the host was restarted since: then what is mounted at the engine's mount point is not its root. */
  readonly rebooted: boolean;
  readonly reason: string;
}

/** Reads an engine file's text. @throws INTEGRITY */
export function parseEngineFile(text: string, file: string): EngineFile {
  const lines = parseKeyValues(text, { file, errorCode: 'INTEGRITY' });
  const values = new Map(lines.map(({ key, value }) => [key, value]));
  const ranges = (wanted: string): IdRange[] => lines.flatMap(({ key, value }) => (key === wanted ? (parseIdRange(value) ?? []) : []));
  const [uids, gids] = [ranges('uid-map'), ranges('gid-map')];
  const number = (key: string): number => Number(/^\d{1,10}$/.exec(values.get(key) ?? '')?.[0] ?? NaN);
  const engine = {
    holder: number('holder'),
    worker: number('worker'),
    mountpoint: values.get('mountpoint') ?? '',
    version: values.get('version') ?? null,
    stateVersion: Number.isNaN(number('state')) ? null : number('state'),
    boot: values.get('boot') ?? '',
    passthrough: values.get('passthrough') ?? 'no: the engine does not say',
    connection: Number.isNaN(number('connection')) ? null : number('connection'),
    ids: uids.length === 0 || gids.length === 0 ? null : { uids, gids },
  };
  if (Number.isNaN(engine.holder) || engine.holder < 1 || !engine.mountpoint.startsWith('/') || engine.boot === '') {
    throw new Error('not an engine file');
  }
  return Number.isNaN(engine.worker) ? { ...engine, worker: 0 } : engine;
}

function readEngineFile(path: string): EngineFile | 'none' | 'broken' {
  try {
    return parseEngineFile(readFileSync(path, 'utf8'), path);
  } catch (error) {
    return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR' ? 'none' : 'broken';
  }
}

/**
 * Whether a process calls itself an engine. Its holder and its worker have names of their own (native/session), so that this does not
 * need an answer from a worker, which may be busy or stopped.
 */
export function hasEngineName(pid: number): boolean {
  try {
    return /^(tplfs-|templatefs)/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
  } catch {
    return false;
  }
}

type HolderState = 'engine' | 'other' | 'none';

/** Whether a pid is that of an engine: its program says so, or it answers for this container. */
async function holderState(paths: StorePaths, container: string, engine: EngineFile): Promise<HolderState> {
  if (processStart(engine.holder) === undefined) return 'none';
  if (hasEngineName(engine.holder)) return 'engine';
  try {
    const status = await controlRequest(paths.controlSocket(container), ['status'], { timeoutMs: 2_000 });
    return status.get('container') === container ? 'engine' : 'other';
  } catch {
    return 'other';
  }
}

/** An engine that starts has its mount before its file, one that stops has its file a little longer than its mount. */
const SETTLE_MS = 500;

/**
 * Finds out whether a container's engine runs. Reads files and /proc only; nothing is changed.
 *
 * @param mounts the mount table, when the caller asks for many containers
 */
export async function engineState(
  paths: StorePaths,
  container: string,
  mounts: readonly MountEntry[] = readMounts(),
): Promise<EngineState> {
  const engine = readEngineFile(paths.engineState(container));
  if (engine === 'none') {
    if (isEngineMount(mounts, paths.root(container))) {
      return { state: 'dead', engine: null, rebooted: false, reason: 'its root is mounted, but no engine says that it serves it' };
    }
    const leftSocket = existsSync(paths.controlSocket(container));
    return leftSocket ? { state: 'dead', engine: null, rebooted: false, reason: 'a socket is left without an engine' } : { state: 'stopped' };
  }
  if (engine === 'broken') return { state: 'dead', engine: null, rebooted: false, reason: 'its engine file cannot be read' };
  if (engine.boot !== bootId()) return { state: 'dead', engine, rebooted: true, reason: 'the host was restarted' };
  const holder = await holderState(paths, container, engine);
  if (holder === 'none') return { state: 'dead', engine, rebooted: false, reason: `its engine (pid ${engine.holder}) is gone` };
  if (holder === 'other') return { state: 'dead', engine, rebooted: false, reason: `pid ${engine.holder} is no engine any more` };
  // A root may be mounted in the holder's mount namespace and not in ours.
  if (isEngineMount(mounts, engine.mountpoint, engine.connection) || isEngineMount(readMountsOf(engine.holder), engine.mountpoint, engine.connection)) return { state: 'mounted', engine };
  return { state: 'dead', engine, rebooted: false, reason: `nothing is mounted at ${engine.mountpoint}` };
}

/** As {@link engineState}, but gives an engine that is just starting or stopping the time to be one or the other. */
export async function settledEngineState(paths: StorePaths, container: string): Promise<EngineState> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const found = await engineState(paths, container);
    if (found.state !== 'dead' || performance.now() >= deadline) return found;
    const alive = found.engine !== null && found.engine.boot === bootId() && processStart(found.engine.holder) !== undefined;
    if (!alive) return found;
    await sleep(25);
  }
}
