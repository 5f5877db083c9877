import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { engineError, runEngine } from './run-engine.js';

/** Kinds of entries of a private area: docs/protocols/control.md. */
const KINDS = ['file', 'link', 'partial', 'dir', 'merged', 'whiteout', 'symlink', 'char', 'block', 'fifo', 'socket', 'broken', 'mended'] as const;
export type ScanKind = (typeof KINDS)[number];
const KNOWN_KINDS: ReadonlySet<string> = new Set(KINDS);

function isKind(name: string | undefined): name is ScanKind {
  return name !== undefined && KNOWN_KINDS.has(name);
}

/** One entry of a private area. */
export interface ScanRecord {
  readonly kind: ScanKind;
  /** From `/`; each character is one byte (latin1), as names need not be UTF-8. `inode:HEX` for an unlinked inode. */
  readonly path: string;
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** The tree node that it was copied from; null for an entry that is wholly private. */
  readonly origin: number | null;
  /** The object of a link or of a partial file, as `HEX` or `HEX.VARIANT`; else null. */
  readonly object: string | null;
  readonly links: number;
  /** Only of a scan that keeps going: how many bytes of its object a link or a partial file shows; null for all others. */
  readonly shownBytes?: number | null;
  /** Why an entry is `broken`, or was until it was `mended`. */
  readonly reason?: string;
}

/** How a scan treats entries that cannot be read. */
export interface ScanOptions {
  /** They are records of the kind `broken`; else the first ends the scan. */
  readonly keepGoing?: boolean;
  /** They are mended where nothing can be lost by it; only for a container that is not mounted. */
  readonly mend?: boolean;
}

const FIELDS = 10;
/** `end`, the container, and a code and message if it could not be read: after the records of each of several. */
const END_FIELDS = 4;
/** A path of 4096 bytes and nine short fields; more is no record. */
const RECORD_LIMIT_BYTES = 1024 * 1024;

/** Digits and nothing else. A record has eight, and an area many records: twice as fast as by a regular expression. */
function integer(text: string | undefined, radix = 10): number {
  let value = text === undefined || text === '' ? NaN : 0;
  for (let at = 0; text !== undefined && at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    value = digit >= 0 && digit < radix ? value * radix + digit : NaN;
  }
  if (!Number.isSafeInteger(value)) throw new Error(`not a number: ${JSON.stringify(text)}`);
  return value;
}

function parseRecord(fields: readonly string[], keepGoing: boolean): ScanRecord {
  if (fields.length !== (keepGoing ? FIELDS + 1 : FIELDS)) throw new Error(`a record of ${fields.length} fields`);
  const [kind, path = '', inode, owner = '', size, allocated, mtime = '', origin, object = '-', links, last = '-'] = fields;
  if (!isKind(kind)) throw new Error(`unknown kind ${JSON.stringify(kind)}`);
  if (!path.startsWith('/') && !/^inode:[0-9a-fA-F]+$/.test(path)) throw new Error(`no path: ${JSON.stringify(path)}`);
  const [mode, uid, gid, extra] = owner.split(' ');
  const point = mtime.indexOf('.');
  const isBefore = mtime.startsWith('-');
  const seconds = integer(mtime.slice(isBefore ? 1 : 0, point));
  if (extra !== undefined || point < 0 || mtime.length - point > 10) throw new Error('a record of another form');
  if (object !== '-' && !/^[0-9a-f]{32}(\.\d+)?$/.test(object)) throw new Error(`no object: ${JSON.stringify(object)}`);
  const record: ScanRecord = {
    kind,
    path,
    inode: integer(inode),
    mode: integer(mode, 8),
    uid: integer(uid),
    gid: integer(gid),
    sizeBytes: integer(size),
    allocatedBytes: integer(allocated),
    mtimeSeconds: isBefore ? -seconds : seconds,
    mtimeNanoseconds: integer(mtime.slice(point + 1)),
    origin: origin === '-' ? null : integer(origin),
    object: object === '-' ? null : object,
    links: integer(links),
  };
  if (kind === 'broken' || kind === 'mended') return { ...record, reason: last };
  return keepGoing ? { ...record, shownBytes: last === '-' ? null : integer(last) } : record;
}

export interface ScanListener {
  readonly onRecord: (record: ScanRecord) => void;
  /** Of a scan of several containers, after the records of each. */
  readonly onEnd?: (container: string, error: TemplatefsError | undefined) => void;
}

/** Takes `scan` output in pieces of any size. */
export class ScanParser {
  readonly #listener: ScanListener;
  readonly #keepGoing: boolean;
  #rest = '';
  #fields: string[] = [];

  constructor(listener: ScanListener, keepGoing = false) {
    this.#listener = listener;
    this.#keepGoing = keepGoing;
  }

  /** @throws Error for bytes that are no records */
  push(piece: Buffer): void {
    const text = this.#rest + piece.toString('latin1');
    let from = 0;
    for (let nul = text.indexOf('\0'); nul >= 0; nul = text.indexOf('\0', from)) {
      if (nul > from) this.#fields.push(text.slice(from, nul));
      else this.#end();
      if (this.#fields.length > FIELDS + 1) throw new Error('a record of too many fields');
      from = nul + 1;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length > RECORD_LIMIT_BYTES) throw new Error('a record that does not end');
  }

  /** To be called at the end of the output. @throws Error if it ends within a record */
  end(): void {
    if (this.#rest !== '' || this.#fields.length > 0) throw new Error('it ends within a record');
  }

  #end(): void {
    const fields = this.#fields;
    this.#fields = [];
    const { onRecord, onEnd } = this.#listener;
    const [kind, container = '', code = '', message = ''] = fields;
    if (kind !== 'end' || onEnd === undefined) onRecord(parseRecord(fields, this.#keepGoing));
    else if (fields.length !== END_FIELDS) throw new Error(`an end of ${fields.length} fields`);
    else onEnd(container, code === '-' ? undefined : engineError(code, message));
  }
}

/**
 * Reads what a container has changed, with or without a running engine.
 *
 * @throws CONTAINER_NOT_FOUND, INTEGRITY, ENGINE_FAILED, INTERRUPTED, BUSY (to be mended, and mounted)
 */
export async function scanPrivateArea(
  paths: StorePaths,
  container: string,
  signal?: AbortSignal,
  { keepGoing = false, mend = false }: ScanOptions = {},
): Promise<ScanRecord[]> {
  const records: ScanRecord[] = [];
  const parser = new ScanParser({ onRecord: (record) => records.push(record) }, keepGoing);
  await runScan(parser, ['--store', paths.store, '--container', container, ...(keepGoing ? ['--keep-going'] : []), ...(mend ? ['--mend'] : [])], signal);
  return records;
}

/**
 * Reads several by one process: to start one takes longer than to read an area with few changes.
 *
 * @param onScanned called once for each, in their order: its records, or why it cannot be read (as `scanPrivateArea` throws)
 * @throws INTERRUPTED
 */
export async function scanPrivateAreas(
  paths: StorePaths,
  containers: readonly string[],
  signal: AbortSignal | undefined,
  onScanned: (container: string, found: readonly ScanRecord[] | TemplatefsError) => void,
): Promise<void> {
  const [only] = containers;
  if (only === undefined) return;
  const waiting = [...containers];
  let records: ScanRecord[] = [];
  const done = (found: readonly ScanRecord[] | TemplatefsError): void => {
    const container = waiting.shift();
    records = [];
    if (container !== undefined) onScanned(container, found);
  };
  const parser = new ScanParser({
    onRecord: (record) => records.push(record),
    onEnd: (container, error) => {
      if (container !== waiting[0]) throw new Error(`the end of ${JSON.stringify(container)}`);
      done(error ?? records);
    },
  });
  try {
    await runScan(parser, ['--store', paths.store, ...containers.flatMap((container) => ['--container', container])], signal);
    // A single one has no end.
    if (containers.length === 1) done(records);
    if (waiting.length > 0) throw unreadable(new Error(`nothing of ${waiting.join(', ')}`));
  } catch (error) {
    if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED' || waiting.length === 0) throw error;
    while (waiting.length > 0) done(error);
  }
}

async function runScan(parser: ScanParser, words: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const guarded = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      throw unreadable(error);
    }
  };
  await runEngine({
    verb: 'scan',
    arguments: words,
    onOutput: (piece) => { guarded(() => { parser.push(piece); }); },
    ...(signal !== undefined && { signal }),
  });
  guarded(() => { parser.end(); });
}

function unreadable(cause: unknown): TemplatefsError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TemplatefsError('ENGINE_FAILED', `templatefs-engine scan wrote what cannot be read: ${why}`, {
    hint: 'build the engine and the control plane together: npm run build',
    cause,
  });
}
