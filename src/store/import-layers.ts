import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { holeBudget } from './archive-contents.js';
import { checkedBytes } from './checked-bytes.js';
import type { ImportResult } from './finish-import.js';
import { ImportProgress } from './import-progress.js';
import { importWith, readArchive, type ImportOptions } from './import-tar.js';
import { LayeredHierarchy } from './layered-hierarchy.js';

/** One layer of an image: a tar, plain or compressed. */
export interface Layer {
  /** For messages. */
  readonly name: string;
  /** Digest of the decompressed tar. */
  readonly diffId: string;
  /** The bytes as they are stored; throws at their end when they are not what they should be. */
  open(): AsyncIterable<Buffer>;
}

/**
 * Imports the layers of an image, the lowest first, as one tree. None is unpacked to the disk, and what a later layer hides
 * does not become an object. Durability and errors as with `importTar`; nothing is kept when a digest is wrong.
 * @throws BAD_ARCHIVE naming layer, member and byte
 */
export async function importLayers(paths: StorePaths, layers: readonly Layer[], options: ImportOptions = {}): Promise<ImportResult> {
  const archive = new LayeredHierarchy(options.maxEntries);
  return importWith(paths, options, archive, async (running) => {
    const progress = new ImportProgress(options.onProgress);
    const budget = holeBudget(options.maxHoleBytes);
    for (const [index, layer] of layers.entries()) {
      archive.beginLayer();
      try {
        await readArchive(progress.count(layer.open()), {
          ...running,
          archive,
          options,
          progress,
          holeBudget: budget,
          isMark: (member) => archive.takeMark(member),
          watch: (plain) => checkedBytes(plain, { digest: layer.diffId }, 'its content'),
        });
      } catch (error) {
        if (!(error instanceof TemplatefsError) || error.code !== 'BAD_ARCHIVE') throw error;
        throw new TemplatefsError('BAD_ARCHIVE', `layer ${index + 1} of ${layers.length} (${layer.name}): ${error.message}`, {
          ...(error.hint !== undefined && { hint: error.hint }),
          cause: error,
        });
      }
    }
    progress.end();
  });
}
