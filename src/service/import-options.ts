import type { ImportOptions } from '../store/import-tar.js';
import type { ServiceContext } from './context.js';

/** What an import needs of a service's context. @param totalBytes size of the source, where it is known */
export function importOptions({ signal, onProgress }: ServiceContext, totalBytes?: number): ImportOptions {
  return {
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && {
      onProgress: ({ bytesRead }) => {
        onProgress({ step: 'importing', done: bytesRead, unit: 'bytes', ...(totalBytes !== undefined && { total: totalBytes }) });
      },
    }),
  };
}
