import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { runOk } from './run-program.js';
import type { Scratch } from './scratch.js';

/** A file system of its own kind and size on a loop device, below the scratch folder. */
export class LoopVolume {
  readonly path: string;
  readonly #image: string;

  private constructor(path: string, image: string) {
    this.path = path;
    this.#image = image;
  }

  /** Needs mkfs of that kind. The loop device goes with the mount. */
  static async make(scratch: Scratch, kind: 'ext4' | 'xfs' | 'btrfs', sizeBytes: number): Promise<LoopVolume> {
    const image = scratch.path(`${kind}.img`);
    const path = scratch.path(kind);
    writeFileSync(image, '');
    truncateSync(image, sizeBytes);
    await runOk(`mkfs.${kind}`, ['-q', image]);
    mkdirSync(path);
    await runOk('mount', ['-o', 'loop', '--', image, path]);
    return new LoopVolume(path, image);
  }

  /** Unmounts it; what is on it must not be in use. */
  async remove(): Promise<void> {
    await runOk('umount', ['--', this.path]);
    rmSync(this.#image, { force: true });
  }
}

/**
 * A new ext4 for as long as the tests of this file run: what a program cannot do there either is not the root's fault. To
 * be called at the top of a test file, after `useScratch`.
 *
 * @returns how to learn a folder on it, once the tests run
 */
export function useLoopVolume(scratch: Scratch, sizeBytes: number): () => string {
  let volume: LoopVolume | undefined;
  beforeAll(async () => {
    volume = await LoopVolume.make(scratch, 'ext4', sizeBytes);
    mkdirSync(join(volume.path, 'work'));
  });
  afterAll(() => volume?.remove());
  return () => {
    if (volume === undefined) throw new Error('asked for before the tests run');
    return volume.path;
  };
}
