import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { killStarted, runProgram, type RunOptions } from './run-program.js';
import type { Scratch } from './scratch.js';
import type { TestStore } from './test-store.js';

/**
 * Where programs work on a root. Template files of /opt are served by passthrough from the first open and replaced at the
 * first write; those of /srv may be changed in place below readers (docs/architecture.md, "Life of a first write").
 */
export const PLACES = ['opt/work', 'srv/work'] as const;
export type Place = (typeof PLACES)[number];

export interface Variant {
  readonly place: Place;
  readonly killed: boolean;
  readonly name: string;
}

/** `npm run test:programs`: each program in every variant. `npm test` is the quicker half. */
export const IS_LONG = process.env['TEMPLATEFS_TEST_PROGRAMS'] === 'all';

const variants = PLACES.flatMap((place) => [
  { place, killed: false, name: `in /${place}` },
  { place, killed: true, name: `in /${place}, the engine's worker killed all the time` },
]);

/** Where programs work, with the engine's worker left alone and killed. */
export const VARIANTS: readonly Variant[] = IS_LONG ? variants : variants.filter(({ place, killed }) => killed === (place === 'srv/work'));

/** A mounted root, both places of which came from its template with the same content. */
export class ProgramRoot {
  readonly store: TestStore;
  readonly root: string;
  /** What both places held, on the host's own file system. */
  readonly source: string;
  readonly #shared: ReadonlyMap<string, string>;

  constructor(store: TestStore, root: string, source: string) {
    this.store = store;
    this.root = root;
    this.source = source;
    this.#shared = store.sharedFiles();
  }

  /** @param fill puts into one folder what both places of the template hold */
  static async mount(scratch: Scratch, fill: (folder: string) => Promise<void> | void): Promise<ProgramRoot> {
    const template = scratch.makeFolder('template');
    const [first, ...others] = PLACES.map((place) => join(template, place));
    for (const folder of ['opt', 'srv', 'tmp']) mkdirSync(join(template, folder));
    if (first === undefined) throw new Error('no place');
    mkdirSync(first);
    await fill(first);
    for (const other of others) await runChecked('cp', ['-a', first, other]);
    const store = scratch.makeStore();
    await store.make(template, 'c1');
    const source = scratch.path('source');
    renameSync(first, source);
    await runProgram('rm', ['-rf', template]);
    return new ProgramRoot(store, await store.mount('c1'), source);
  }

  path(place: Place, name = ''): string {
    return join(this.root, place, name);
  }

  /**
   * Does `work` while the worker is killed a few times a second. That nobody noticed is for `work` to find out; that
   * workers were killed, and that each was replaced once, is seen to here.
   */
  async underKills<T>(work: () => Promise<T>): Promise<T> {
    const before = (await this.store.info('c1')).engineRestarts ?? 0;
    let isBusy = true;
    let kills = 0;
    const killAll = async (): Promise<void> => {
      while (isBusy) {
        await this.store.killWorker('c1');
        kills += 1;
        await sleep(50 + Math.random() * 300);
      }
    };
    const killing = killAll().then(
      () => undefined,
      (error: unknown) => {
        // What works on a root without an engine hangs.
        killStarted();
        return error instanceof Error ? error : new Error(String(error));
      },
    );
    let result: T;
    try {
      result = await work();
    } finally {
      isBusy = false;
      const error = await killing;
      if (error !== undefined) throw error;
    }
    expect(kills).toBeGreaterThan(0);
    expect((await this.store.info('c1')).engineRestarts).toBe(before + kills);
    return result;
  }

  /** With or without kills, as a variant says. */
  async inVariant<T>({ killed }: Variant, work: () => Promise<T>): Promise<T> {
    return killed ? this.underKills(work) : work();
  }

  /** The root can be unmounted, nothing in the store changed, and all of it is sound. Mounts it again. */
  async expectTemplateUntouched(): Promise<void> {
    await this.store.ok('umount', 'c1');
    expect(this.store.sharedFiles()).toEqual(this.#shared);
    await this.store.expectSound();
    await this.store.mount('c1');
  }
}

/** Runs a program that must succeed; whatever it said is in the failure. @returns stdout */
export async function runChecked(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ended = await runProgram(file, args, options);
  const said = `${[file, ...args].join(' ')}\n${ended.stderr.slice(-6000)}\n${ended.stdout.slice(-6000)}`;
  expect(ended.signal ?? ended.status, said).toBe(0);
  return ended.stdout;
}
