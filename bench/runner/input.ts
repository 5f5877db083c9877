import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StorePaths } from '../../src/core/store-paths.js';
import { importTemplate } from '../../src/service/import-template.js';
import type { Volume } from './loop-volume.js';
import { runProgram } from './run-program.js';

export const TEMPLATE = 'bench';

/** One root in the forms that peers need, all on the volume. Each form is made when the first peer asks for it. */
export class Input {
  readonly volume: Volume;
  readonly signal: AbortSignal;
  readonly #tar: string;
  readonly #say: (text: string) => void;
  #unpacked: Promise<string> | undefined;
  #store: Promise<StorePaths> | undefined;

  constructor(options: { readonly tar: string; readonly volume: Volume; readonly say: (text: string) => void; readonly signal: AbortSignal }) {
    this.#tar = options.tar;
    this.volume = options.volume;
    this.signal = options.signal;
    this.#say = options.say;
  }

  /** @returns the folder with the unpacked tar: what host, overlayfs and fuse-overlayfs stand on */
  unpacked(): Promise<string> {
    this.#unpacked ??= this.#unpack();
    return this.#unpacked;
  }

  /** @returns a store with the tar as its template TEMPLATE */
  store(): Promise<StorePaths> {
    this.#store ??= this.#import();
    return this.#store;
  }

  /** A new folder for one slot's own files. */
  async slotFolder(slot: string): Promise<string> {
    const folder = join(this.volume.path, 'slots', slot);
    await mkdir(folder, { recursive: true });
    return folder;
  }

  async #unpack(): Promise<string> {
    this.#say('Unpacking the root');
    const folder = join(this.volume.path, 'unpacked');
    await mkdir(folder);
    await runProgram('tar', ['-x', '--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '-p', '-f', this.#tar, '-C', folder], { signal: this.signal });
    return folder;
  }

  async #import(): Promise<StorePaths> {
    this.#say('Importing the root into a store');
    const paths = new StorePaths(join(this.volume.path, 'store'));
    await importTemplate({ paths, signal: this.signal }, { name: TEMPLATE, source: this.#tar });
    return paths;
  }
}
