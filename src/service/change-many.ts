import { availableParallelism } from 'node:os';
import { TemplatefsError } from '../core/errors.js';
import { changePackages, type ChangedPackages, type ChangePackagesOptions } from './change-packages.js';
import type { ServiceContext } from './context.js';

/** A container in which a change failed; it is as before. */
export interface FailedChange {
  readonly name: string;
  readonly code: string;
  readonly message: string;
}

export interface ChangedContainers {
  readonly containers: readonly ChangedPackages[];
  readonly failed: readonly FailedChange[];
  readonly seconds: number;
}

export interface ChangeManyOptions extends Omit<ChangePackagesOptions, 'container' | 'oneOfMany'> {
  readonly containers: readonly string[];
  /** How many at once; by default as many as there are processors, four at most: the disk is shared. */
  readonly jobs?: number;
}

/** Changes packages of several containers. One that fails does not stop the others. @throws INTERRUPTED */
export async function changeMany(context: ServiceContext, { containers, jobs, ...options }: ChangeManyOptions): Promise<ChangedContainers> {
  const from = performance.now();
  const changed: ChangedPackages[] = [];
  const failed: FailedChange[] = [];
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    for (let container = containers[next++]; container !== undefined; container = containers[next++]) {
      context.signal?.throwIfAborted();
      const name = container;
      const own: ServiceContext = {
        ...context,
        onNotice: (text) => context.onNotice?.(`${name}: ${text}`),
        onLog: (line) => context.onLog?.(`${name}: ${line}`),
      };
      try {
        const one = await changePackages(own, { ...options, container: name, oneOfMany: true });
        changed.push(one);
        context.onNotice?.(`${name}: ${one.packages.length} packages in ${one.seconds} s`);
      } catch (error) {
        context.signal?.throwIfAborted();
        const code = error instanceof TemplatefsError ? error.code : 'FAILED';
        const message = error instanceof Error ? error.message : String(error);
        failed.push({ name, code, message });
        context.onNotice?.(`${name}: failed: ${message}`);
      }
      context.onProgress?.({ step: options.operation, done: ++done, total: containers.length, unit: 'items' });
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, jobs ?? Math.min(4, availableParallelism())) }, work));
  return { containers: changed.sort((a, b) => (a.name < b.name ? -1 : 1)), failed, seconds: Math.round(performance.now() - from) / 1000 };
}
