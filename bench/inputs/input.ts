import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StorePaths } from '../../src/core/store-paths.js';
import { importTemplate } from '../../src/service/import-template.js';
import { runProgram } from '../runner/run-program.js';

/** What a root is made of. A function each in this folder. */
export interface InputSource {
  /** Also the name of its template. */
  readonly name: string;
  /** Fills an empty folder. */
  fill(folder: string, signal: AbortSignal): Promise<void>;
  /** A tar of the same, where there is one; else the folder is imported. */
  readonly tar?: string;
}

/** Where everything of a run is. */
export interface Places {
  /** On the volume. */
  readonly volume: string;
  /** A folder that is not on the volume: lists, empty folders. */
  readonly scratch: string;
  readonly store: StorePaths;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/** One root in the forms that peers need, all on the volume. Each form is made when somebody first asks for it. */
export class Input {
  readonly name: string;
  readonly places: Places;
  readonly #source: InputSource;
  readonly #made = new Map<string, Promise<string>>();

  constructor(source: InputSource, places: Places) {
    this.name = source.name;
    this.places = places;
    this.#source = source;
  }

  /** The tar that it was made of, where there is one. */
  get tar(): string | undefined {
    return this.#source.tar;
  }

  get signal(): AbortSignal {
    return this.places.signal;
  }

  /** @returns a folder with the root that nobody changes: what overlays stand on */
  unpacked(): Promise<string> {
    return this.#once('unpacked', async () => {
      this.places.say(`Unpacking the root "${this.name}"`);
      const folder = join(this.places.volume, 'unpacked', this.name);
      await mkdir(folder, { recursive: true });
      await this.#source.fill(folder, this.signal);
      return folder;
    });
  }

  /** @returns the name of a template in the store */
  template(): Promise<string> {
    return this.#once('template', async () => {
      const source = this.#source.tar ?? (await this.unpacked());
      this.places.say(`Importing the root "${this.name}" into a store`);
      await importTemplate({ paths: this.places.store, signal: this.signal }, { name: this.name, source });
      return this.name;
    });
  }

  /** A copy that its owner may change. `restore` makes it again what it was. */
  async copyTo(folder: string): Promise<void> {
    await runProgram('cp', ['-a', `${await this.unpacked()}/.`, folder], { signal: this.signal });
  }

  async restore(folder: string): Promise<void> {
    await runProgram('rsync', ['-aHAX', '--delete', '--numeric-ids', `${await this.unpacked()}/`, `${folder}/`], { signal: this.signal });
  }

  /**
   * A list of paths relative to the root, spread evenly over those that `find` finds, for the driver.
   *
   * @returns the file with the list
   */
  list(name: string, count: number, findArguments: readonly string[]): Promise<string> {
    return this.#once(`list ${name} ${count}`, async () => {
      const text = await runProgram('find', [await this.unpacked(), ...findArguments, '-printf', '%P\\n'], { signal: this.signal });
      const paths = text.split('\n').filter((path) => path !== '').sort();
      const step = Math.max(1, paths.length / count);
      const chosen = Array.from({ length: Math.min(count, paths.length) }, (_, at) => paths[Math.floor(at * step)] ?? '');
      const file = join(this.places.scratch, `${this.name}-${name}-${count}`);
      await writeFile(file, chosen.map((path) => `${path}\n`).join(''));
      return file;
    });
  }

  /** A folder on the volume that scenarios share, for all slots: a repository, a database to copy. `fill` is called once. */
  prepared(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
    return this.#once(`prepared ${name}`, async () => {
      const folder = join(this.places.volume, 'prepared', this.name, name);
      await mkdir(folder, { recursive: true });
      await fill(folder);
      return folder;
    });
  }

  /** A new folder for one slot's own files. */
  async slotFolder(slot: string): Promise<string> {
    const folder = join(this.places.volume, 'slots', this.name, slot);
    await mkdir(folder, { recursive: true });
    return folder;
  }

  #once(form: string, make: () => Promise<string>): Promise<string> {
    const made = this.#made.get(form) ?? make();
    this.#made.set(form, made);
    return made;
  }
}
