/** The worker thread of src/store: hashing, comparing and writing of objects. Started by `ObjectWorkers`. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf } from '../core/errors.js';
import { Fingerprint } from './fingerprint.js';
import { WorkerBatches } from './worker-batches.js';
import type { VerifiedFile, WorkerRequest, WorkerResponse } from './worker-messages.js';

const batches = new WorkerBatches();
const port = parentPort;
if (port === null) throw new Error('object-worker.js is a worker thread');

port.on('message', ({ id, request }: { id: number; request: WorkerRequest }) => {
  // A buffer goes back even after an error: the main thread has only a few.
  const buffer = 'buffer' in request ? request.buffer : undefined;
  let response: WorkerResponse;
  try {
    response = { id, ...answer(request) };
  } catch (error) {
    response = { id, error: describe(error) };
  }
  if (buffer === undefined) port.postMessage(response);
  else port.postMessage({ ...response, buffer }, [buffer]);
});

function answer(request: WorkerRequest): Omit<WorkerResponse, 'id'> {
  switch (request.kind) {
    case 'files':
      return { contents: batches.storeFiles(request.place, Buffer.from(request.buffer), request.ends) };
    case 'open':
      batches.openStream(request.place, request.stream);
      return {};
    case 'data':
      batches.streamData(request.stream, Buffer.from(request.buffer, 0, request.length));
      return {};
    case 'hole':
      batches.streamHole(request.stream, request.length);
      return {};
    case 'close':
      return { contents: [batches.closeStream(request.stream)] };
    case 'link':
      return { linked: batches.link(request) };
    case 'forget':
      batches.forget(request.batch);
      return {};
    case 'verify':
      return { verified: request.files.map((file) => verify(file, request.hashBits)) };
  }
}

const READ_BYTES = 1 << 20;
let readBuffer = Buffer.alloc(0);

function verify(file: string, hashBits: number): VerifiedFile {
  if (readBuffer.length === 0) readBuffer = Buffer.alloc(READ_BYTES);
  try {
    const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const fingerprint = new Fingerprint();
      for (let count = readSync(fd, readBuffer); count > 0; count = readSync(fd, readBuffer)) {
        fingerprint.update(readBuffer.subarray(0, count));
      }
      return { hash: fingerprint.digest(hashBits) };
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function describe(error: unknown): NonNullable<WorkerResponse['error']> {
  const known = error instanceof Error ? error : new Error(String(error));
  return { message: known.message, code: errnoOf(known), stack: known.stack };
}
