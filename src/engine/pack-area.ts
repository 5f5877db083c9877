import type { Readable } from 'node:stream';
import { runEngine } from './run-engine.js';

/**
 * The private area in a folder that nobody serves, as a stream (docs/formats/area-stream.md).
 *
 * @throws BUSY, INTEGRITY, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function packArea(folder: string, consume: (stream: Readable) => Promise<void>, signal?: AbortSignal): Promise<void> {
  await runEngine({ verb: 'area', arguments: ['pack', folder], consume, ...(signal !== undefined && { signal }) });
}

/**
 * Makes a private area of a stream, in an empty folder; durably.
 *
 * @throws INTEGRITY for a stream that is none, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function unpackArea(folder: string, stream: Readable, signal?: AbortSignal): Promise<void> {
  await runEngine({ verb: 'area', arguments: ['unpack', folder], inputStream: stream, ...(signal !== undefined && { signal }) });
}
