import { statSync } from 'node:fs';
import { join } from 'node:path';

/*
 * What the engine's binary looks at to see that merging has nothing to do, without starting Node.js: docs/formats/link-cache.md, `.settled`.
 * native/tools/settled.cc reads it.
 */

/** A file of the store as it was looked at. */
export interface FileState {
  /** Below the store. */
  readonly name: string;
  /** Inode, size and times; `-` for none. */
  readonly state: string;
  /** The later of its times, in ms. */
  readonly changedMs: number;
}

export interface Settled {
  readonly files: readonly FileState[];
  /** By container. */
  readonly marks: ReadonlyMap<string, string>;
  /** What the command says then. */
  readonly text: string;
}

/** @throws where it cannot be looked at */
export function fileState(store: string, name: string): FileState {
  const stat = statSync(join(store, name), { bigint: true, throwIfNoEntry: false });
  if (stat === undefined) return { name, state: '-', changedMs: 0 };
  const latest = stat.mtimeNs > stat.ctimeNs ? stat.mtimeNs : stat.ctimeNs;
  return { name, state: `${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`, changedMs: Number(latest / 1_000_000n) };
}

/** The last line says that it is whole: it need not be made durable. */
export function formatSettled({ files, marks, text }: Settled): string {
  return [
    'templatefs-settled 1',
    ...files.map(({ name, state }) => `file ${name} ${state}`),
    ...[...marks].map(([container, mark]) => `mark ${container} ${mark}`),
    `text\n${text}end\n`,
  ].join('\n');
}
