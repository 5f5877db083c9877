import { closeSync, constants, openSync } from 'node:fs';
import { errnoOf } from '../core/errors.js';
import type { RawName } from '../store/raw-names.js';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Folders that are open at once: several times as many as the files that threads are reading. */
const MOST_FOLDERS = 2048;

/** A file by its open folder and its name there. */
export interface FileInFolder {
  /** A descriptor, which stays open while the next thousand folders are opened. */
  readonly folder: number;
  readonly name: RawName;
}

interface OpenFolder {
  readonly fd: number;
  isOpen: boolean;
}

/**
 * Folders of private areas, held open so that files in them can be reached by name. Containers may rename things meanwhile: no
 * symlink is followed on the way. Files that come in the order of a scan share their folder.
 */
export class PrivateFiles {
  readonly #open: OpenFolder[] = [];
  #path: string | undefined;
  #folder: OpenFolder | undefined;

  /**
   * @param top `private/<ct>/root`, or the root that the container sees
   * @returns undefined when its folder is not there any more
   */
  find(top: string, path: RawName): FileInFolder | undefined {
    const slash = path.lastIndexOf('/');
    const parent = path.slice(0, slash);
    const key = `${top}\0${parent}`;
    if (key !== this.#path || this.#folder?.isOpen === false) {
      this.#path = key;
      this.#folder = this.#openFolder(top, parent);
    }
    return this.#folder === undefined ? undefined : { folder: this.#folder.fd, name: path.slice(slash + 1) };
  }

  /** Closes all folders: what `find` has given holds no longer. */
  close(): void {
    for (const folder of this.#open.splice(0)) closeFolder(folder);
    this.#path = undefined;
    this.#folder = undefined;
  }

  #openFolder(top: string, path: RawName): OpenFolder | undefined {
    let fd: number | undefined;
    try {
      fd = openSync(top, FOLDER);
      for (const name of path.split('/').filter((part) => part !== '')) {
        const next = openSync(fileInFolderPath({ folder: fd, name }), FOLDER);
        closeSync(fd);
        fd = next;
      }
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
    const folder = { fd, isOpen: true };
    this.#open.push(folder);
    if (this.#open.length > MOST_FOLDERS) for (const oldest of this.#open.splice(0, MOST_FOLDERS / 4)) closeFolder(oldest);
    return folder;
  }
}

function closeFolder(folder: OpenFolder): void {
  folder.isOpen = false;
  closeSync(folder.fd);
}

/** Names are bytes: each character of a raw name is one. */
export function fileInFolderPath({ folder, name }: FileInFolder): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder}/`), Buffer.from(name, 'latin1')]);
}
