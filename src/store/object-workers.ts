import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { startWorker } from './start-worker.js';
import type { WorkerRequest, WorkerResponse } from './worker-messages.js';

const MAX_WORKERS = 4;

interface Pending {
  readonly resolve: (response: WorkerResponse) => void;
  readonly reject: (error: unknown) => void;
}

/** One thread and the requests that it has not answered. It does not keep the process alive while it has none. */
class ObjectWorker {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 0;
  #failure: Error | undefined;

  constructor() {
    this.#worker = startWorker('object-worker');
    this.#worker.unref();
    this.#worker.on('message', (response: WorkerResponse) => {
      this.#settle(response);
    });
    this.#worker.on('error', (error) => {
      this.#fail(error);
    });
    this.#worker.on('exit', () => {
      this.#fail(new Error('an object worker ended'));
    });
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  get load(): number {
    return this.#pending.size;
  }

  /** Requests of one worker are done in the order in which they are made. */
  request(request: WorkerRequest): Promise<WorkerResponse> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      if (this.#pending.size === 0) this.#worker.ref();
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request }, 'buffer' in request ? [request.buffer] : []);
    });
  }

  #settle(response: WorkerResponse): void {
    const pending = this.#pending.get(response.id);
    this.#pending.delete(response.id);
    if (this.#pending.size === 0) this.#worker.unref();
    pending?.resolve(response);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
  }
}

export type { ObjectWorker };

let shared: ObjectWorker[] = [];

/**
 * The threads that hash and write objects: one for each core, at most four, started when they are first needed and
 * then kept for the life of the process. Idle ones do not keep the process alive.
 */
export function objectWorkers(): readonly ObjectWorker[] {
  shared = shared.filter((worker) => !worker.failed);
  const wanted = Math.max(1, Math.min(MAX_WORKERS, availableParallelism()));
  while (shared.length < wanted) shared.push(new ObjectWorker());
  return shared;
}

/** The error that a response carries, with its errno as `code`, as the thread met it. */
export function responseError(response: WorkerResponse): Error | undefined {
  if (response.error === undefined) return undefined;
  const error = new Error(response.error.message);
  if (response.error.stack !== undefined) error.stack = response.error.stack;
  return response.error.code === undefined ? error : Object.assign(error, { code: response.error.code });
}
