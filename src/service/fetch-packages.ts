import type { FetchedPackage, PackageFile, PackageHost } from '../packages/package-manager.js';

/** Downloads at once: enough to fill a line, few enough for a mirror. */
const AT_ONCE = 4;

/** Brings all packages of a plan into the cache. @throws NO_MIRROR, INTEGRITY, NO_SPACE, INTERRUPTED */
export async function fetchPackages(host: PackageHost, files: readonly PackageFile[]): Promise<FetchedPackage[]> {
  const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const fetched: FetchedPackage[] = [];
  let done = 0;
  let next = 0;
  const stop = new AbortController();
  const signal = host.signal === undefined ? stop.signal : AbortSignal.any([host.signal, stop.signal]);
  const work = async (): Promise<void> => {
    for (let file = files[next++]; file !== undefined; file = files[next++]) {
      fetched.push(await host.cache.fetch(file, {
        signal,
        onBytes: (count) => {
          done += count;
          host.onProgress?.({ step: 'downloading packages', done, total, unit: 'bytes' });
        },
      }));
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    stop.abort(error); // the others would go on for nothing
    throw error;
  }
  return fetched;
}
