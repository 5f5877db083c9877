import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import type { RawName } from './raw-names.js';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** For reading a private file: it is not followed if it is a symlink by now, and reading does not show in its atime. */
const READ_PRIVATE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOATIME;

/** Names are bytes: each character of a raw name is one. */
function pathIn(folder: number, name: RawName): Buffer {
  return Buffer.from(`/proc/self/fd/${folder}/${name}`, 'latin1');
}

function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '');
}

/**
 * Opens files by their paths below folders of others. Containers may rename things meanwhile: no symlink is followed on the way.
 * The folders of the last file stay open, as the next one is likely to be in them.
 */
export class PrivateFiles {
  #top = '';
  /** The folders from `top` down, each with its name in the one before. */
  #chain: { readonly name: RawName; readonly fd: number }[] = [];

  /**
   * @param top `private/<ct>/root`, or the root that the container sees
   * @returns a descriptor for reading, which the caller closes; undefined when it is not there any more, or is a symlink
   */
  open(top: string, path: RawName): number | undefined {
    return this.#reach(top, path, (file) => openSync(file, READ_PRIVATE));
  }

  /** @returns the target of a symlink; undefined when it is not there any more */
  readLink(top: string, path: RawName): RawName | undefined {
    return this.#reach(top, path, (link) => readlinkSync(link, 'latin1'));
  }

  close(): void {
    this.#leave(0);
  }

  #reach<Result>(top: string, path: RawName, use: (file: Buffer) => Result): Result | undefined {
    const names = path.split('/').filter((name) => name !== '');
    const name = names.pop() ?? '.';
    try {
      return use(pathIn(this.#folder(top, names), name));
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  #folder(top: string, names: readonly RawName[]): number {
    if (top !== this.#top) this.#leave(0);
    this.#top = top;
    if (this.#chain.length === 0) this.#chain.push({ name: '', fd: openSync(top, FOLDER) });
    let depth = 0;
    while (depth < names.length && this.#chain[depth + 1]?.name === names[depth]) depth += 1;
    this.#leave(depth + 1);
    for (const name of names.slice(depth)) {
      const above = this.#chain.at(-1)?.fd ?? -1;
      this.#chain.push({ name, fd: openSync(pathIn(above, name), FOLDER) });
    }
    return this.#chain.at(-1)?.fd ?? -1;
  }

  #leave(depth: number): void {
    for (const { fd } of this.#chain.splice(depth)) closeSync(fd);
  }
}
