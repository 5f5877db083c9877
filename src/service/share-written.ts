import { isForEverybody, isSecretPath } from '../packages/secrets.js';
import { adoptContainer } from './adopt-container.js';
import type { ServiceContext } from './context.js';

/** What sharing the files that a transaction wrote has brought. */
export interface SharedFiles {
  /** New in the store. */
  readonly addedBytes: number;
  /** Content of the container that is shared since. */
  readonly linkedBytes: number;
}

export interface ShareOptions {
  readonly container: string;
  /** Where it is mounted, and kept mounted. */
  readonly root: string;
  readonly secretPaths: readonly string[];
  /** What the transaction wrote, as raw names: what else is private in the container is the container's own, and stays so. */
  readonly written: ReadonlySet<string>;
}

/**
 * Makes links of what a transaction wrote: content goes into the store once, whoever installs the same next gets links to it. Secrets stay
 * private: what is known to be one by its path, and whatever not everybody in the container may read.
 */
export async function shareWritten(context: ServiceContext, { container, root, secretPaths, written }: ShareOptions): Promise<SharedFiles> {
  const { addedBytes, linkedBytes } = await adoptContainer(context, {
    container,
    root,
    adoptNew: true,
    isKeptPrivate: ({ path, mode }) => !written.has(path) || !isForEverybody(mode) || isSecretPath(path, secretPaths),
  });
  return { addedBytes, linkedBytes };
}
