import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Input } from '../inputs/input.js';
import { removeTree } from '../runner/remove-tree.js';

/** The folders of a peer that stacks one folder with changes on an unpacked root. */
export interface UnionFolders {
  readonly lower: string;
  readonly upper: string;
  readonly work: string;
  /** The mount point. */
  readonly path: string;
  /** Empties `upper` and `work`. */
  reset(): Promise<void>;
  discard(): Promise<void>;
}

export async function makeUnionFolders(input: Input, slot: string): Promise<UnionFolders> {
  const [lower, folder] = await Promise.all([input.unpacked(), input.slotFolder(slot)]);
  const [upper, work, path] = ['upper', 'work', 'root'].map((name) => join(folder, name)) as [string, string, string];
  for (const made of [upper, work, path]) await mkdir(made);
  return {
    lower,
    upper,
    work,
    path,
    reset: async () => {
      for (const made of [upper, work]) {
        await removeTree(made);
        await mkdir(made);
      }
    },
    discard: () => removeTree(folder),
  };
}
