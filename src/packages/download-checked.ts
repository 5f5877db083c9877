import { createHash } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { storeWriteError, TemplatefsError } from '../core/errors.js';
import { download } from './download.js';

/** A file of a repository, as signed metadata describe it. */
export interface DescribedFile {
  readonly url: string;
  readonly algorithm: string;
  /** In hex. */
  readonly sum: string;
  /** Undefined: the metadata do not say. */
  readonly sizeBytes?: number;
  /** More than this is not read. */
  readonly limitBytes: number;
}

export interface DownloadOptions {
  readonly signal?: AbortSignal;
  /** Called with bytes as they come. */
  readonly onBytes?: (count: number) => void;
}

/**
 * Downloads a file to `path`, 0444. It gets its name only after its sum was checked, and when its content is durable.
 *
 * @throws NO_MIRROR, INTEGRITY when it is not the file that was described, NO_SPACE, STORE_NOT_WRITABLE
 */
export async function downloadChecked(file: DescribedFile, path: string, options: DownloadOptions = {}): Promise<void> {
  const draft = `${path}.tmp-${process.pid}`;
  const hash = createHash(file.algorithm);
  let size = 0;
  try {
    const output = await open(draft, 'w', 0o444);
    try {
      await download(file.url, {
        limitBytes: file.limitBytes,
        ...(options.signal !== undefined && { signal: options.signal }),
        onPiece: async (piece) => {
          hash.update(piece);
          size += piece.length;
          options.onBytes?.(piece.length);
          await output.writeFile(piece);
        },
      });
      if (size !== (file.sizeBytes ?? size) || hash.digest('hex') !== file.sum) throw notAsDescribed(file.url);
      await output.sync();
    } finally {
      await output.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw storeWriteError(error, path);
  }
}

export function notAsDescribed(url: string): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `${url} is not the file that the signed metadata name`, {
    hint: 'the mirror is broken, in the middle of an update, or was tampered with: try again later, or name another mirror',
  });
}
