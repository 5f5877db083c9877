/** The worker thread of src/store: hashing, comparing and writing of objects. Started by `ObjectWorkers`. */
import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { errnoOf } from '../core/errors.js';
import { Fingerprint } from './fingerprint.js';
import { fingerprintFiles } from './fingerprint-files.js';
import { readFromDisk } from './read-from-disk.js';
import { ScrubPace } from './scrub-pace.js';
import { WorkerBatches } from './worker-batches.js';
import type { VerifiedFile, VerifyRequest, WorkerRequest, WorkerResponse } from './worker-messages.js';

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
    case 'copy':
      return { copied: batches.copyFiles(request) };
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
    case 'fingerprint':
      return { fingerprints: fingerprintFiles(request) };
    case 'verify':
      return { verified: verify(request) };
  }
}

function verify({ files, hashBits, pace: memory, bytesPerSecond, withSums }: VerifyRequest): VerifiedFile[] {
  const pace = new ScrubPace(bytesPerSecond, memory);
  const verified: VerifiedFile[] = [];
  for (const { path, hash } of files) {
    if (pace.isStopped()) break;
    let found = read(path, hashBits, pace, withSums);
    // Reads of all containers will fail for it: a bit that fell over on its way must not be enough.
    if (found.hash !== hash && !pace.isStopped()) found = read(path, hashBits, pace, withSums);
    verified.push(found);
  }
  return verified;
}

function read(path: string, hashBits: number, pace: ScrubPace, withSum: boolean): VerifiedFile {
  try {
    const fingerprint = new Fingerprint();
    const sum = withSum ? createHash('sha256') : undefined;
    readFromDisk(path, (bytes) => {
      fingerprint.update(bytes);
      sum?.update(bytes);
      if (!pace.take(bytes.length)) throw new Error('stopped');
    });
    return { hash: fingerprint.digest(hashBits), ...(sum !== undefined && { sum: sum.digest() }) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function describe(error: unknown): NonNullable<WorkerResponse['error']> {
  const known = error instanceof Error ? error : new Error(String(error));
  return { message: known.message, code: errnoOf(known), stack: known.stack };
}
