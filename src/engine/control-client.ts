import { closeSync, openSync } from 'node:fs';
import { createConnection } from 'node:net';
import { basename, dirname } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { engineError } from './run-engine.js';

/** A frame's largest payload: docs/protocols/control.md. */
export const FRAME_LIMIT_BYTES = 1024 * 1024;
/** sun_path holds 107 bytes and a NUL. */
const SOCKET_PATH_LIMIT_BYTES = 107;

/** `latin1`: each character of a field is one byte, as in the paths of a scan. */
export type FieldEncoding = 'utf8' | 'latin1';

/** One frame: a u32 little-endian length, then each field with a NUL. @throws Error for a field with a NUL, or too much */
export function encodeFrame(fields: readonly string[], encoding: FieldEncoding = 'utf8'): Buffer {
  if (fields.some((field) => field.includes('\0'))) throw new Error('a control field must not hold a NUL');
  const payload = Buffer.from(fields.map((field) => `${field}\0`).join(''), encoding);
  if (payload.length > FRAME_LIMIT_BYTES) throw new Error(`a control frame of ${payload.length} bytes is too long`);
  const header = Buffer.alloc(4);
  header.writeUInt32LE(payload.length);
  return Buffer.concat([header, payload]);
}

/**
 * Takes the fields out of the bytes received so far.
 *
 * @returns undefined while the frame is not complete @throws Error for a frame that breaks the protocol
 */
export function decodeFrame(bytes: Buffer): string[] | undefined {
  if (bytes.length < 4) return undefined;
  const length = bytes.readUInt32LE(0);
  if (length > FRAME_LIMIT_BYTES) throw new Error(`a frame of ${length} bytes is too long`);
  if (bytes.length < 4 + length) return undefined;
  if (bytes.length > 4 + length) throw new Error('bytes after the end of the frame');
  const payload = bytes.subarray(4);
  if (length === 0 || payload[length - 1] !== 0) throw new Error('the last field does not end with a NUL');
  return payload.toString('utf8', 0, length - 1).split('\0');
}

/** The reply to a request: `key=value` fields. */
export type ControlReply = ReadonlyMap<string, string>;

function parseReply(fields: readonly string[]): ControlReply {
  const [first, ...rest] = fields;
  if (first === 'error' && rest.length === 2) throw engineError(rest[0] ?? '', rest[1] ?? '');
  if (first !== 'ok') throw new Error(`a reply that starts with ${JSON.stringify(first?.slice(0, 40))}`);
  return new Map(
    rest.map((field) => {
      const equals = field.indexOf('=');
      if (equals < 1) throw new Error('a reply field without key=value');
      return [field.slice(0, equals), field.slice(equals + 1)];
    }),
  );
}

export interface ControlOptions {
  /** Time for the whole exchange. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Of the request's fields. */
  readonly encoding?: FieldEncoding;
}

/**
 * A socket below a deep store does not fit into sun_path; its folder, held open, has a short name under /proc.
 */
function reachable(socketPath: string): { path: string; release: () => void } {
  if (Buffer.byteLength(socketPath) <= SOCKET_PATH_LIMIT_BYTES) return { path: socketPath, release: () => undefined };
  const fd = openSync(dirname(socketPath), 'r');
  return { path: `/proc/self/fd/${fd}/${basename(socketPath)}`, release: () => { closeSync(fd); } };
}

function protocolError(socketPath: string, why: string, cause?: unknown): TemplatefsError {
  return new TemplatefsError('ENGINE_FAILED', `the engine behind ${socketPath} ${why}`, {
    hint: 'unmount the container with `templatefs umount CT --force`, then mount it again',
    cause,
  });
}

/** No socket, or one that nobody listens on. */
const NOBODY_THERE: readonly string[] = ['ENOENT', 'ECONNREFUSED'];

/** Whether a request failed because no engine is there, or none any more. */
export function isNobodyThere(error: unknown): boolean {
  return error instanceof TemplatefsError && NOBODY_THERE.includes(errnoOf(error.cause) ?? '');
}

/**
 * Sends one request to a running engine and reads its reply: one exchange a connection.
 *
 * @returns the fields after `ok`
 * @throws the engine's own error; ENGINE_FAILED if none is there (`isNobodyThere`), if it does not answer in time, or breaks the protocol
 */
export async function controlRequest(
  socketPath: string,
  fields: readonly string[],
  { timeoutMs = 10_000, signal, encoding }: ControlOptions = {},
): Promise<ControlReply> {
  const frame = encodeFrame(fields, encoding);
  signal?.throwIfAborted();
  let release = (): void => undefined;
  try {
    const place = reachable(socketPath);
    release = place.release;
    const reply = await exchange(place.path, frame, timeoutMs, signal);
    return parseReply(reply);
  } catch (error) {
    if (error instanceof TemplatefsError) throw error;
    if (NOBODY_THERE.includes(errnoOf(error) ?? '')) {
      throw new TemplatefsError('ENGINE_FAILED', `no engine answers at ${socketPath}`, { hint: 'it has ended: run the command again', cause: error });
    }
    if (signal?.aborted === true) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw protocolError(socketPath, `did not answer as it should: ${why}`, error);
  } finally {
    release();
  }
}

function exchange(path: string, frame: Buffer, timeoutMs: number, signal?: AbortSignal): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const pieces: Buffer[] = [];
    const end = (finish: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      socket.destroy();
      finish();
    };
    const fail = (error: Error): void => { end(() => { reject(error); }); };
    const abort = (): void => { fail(signal?.reason instanceof Error ? signal.reason : new Error('aborted')); };
    const timer = setTimeout(() => { fail(new Error(`no reply within ${timeoutMs} ms`)); }, timeoutMs);
    signal?.addEventListener('abort', abort, { once: true });

    const take = (): boolean => {
      let fields: string[] | undefined;
      try {
        fields = decodeFrame(Buffer.concat(pieces));
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
        return true;
      }
      if (fields === undefined) return false;
      const reply = fields;
      end(() => { resolve(reply); });
      return true;
    };
    socket.on('connect', () => socket.write(frame));
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      take();
    });
    socket.on('end', () => { fail(new Error('the connection ended before the reply was complete')); });
    socket.on('error', fail);
  });
}
