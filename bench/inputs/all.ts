import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from '../runner/run-program.js';
import type { InputSource } from './input.js';

export const INPUT_NAMES = ['debian', 'data', 'large', 'wide', 'files-10k', 'files-100k', 'files-1m'] as const;
/**
 * `debian`: a real root. `data`: a file of 300 MiB and 64 of 1 MiB. `large`: one file of 1 GiB (with --quick 128 MiB).
 * `wide`: one folder with 100,000 entries. `files-…`: so many empty files, 100 a folder.
 */
export type InputName = (typeof INPUT_NAMES)[number];

export const DATA_FILE = 'usr/lib/bench/data';
export const DATA_FILE_MIB = 300;
export const MIB_FILES = 'usr/lib/bench/mib';
export const LARGE_FILE = 'usr/lib/bench/large';
export const WIDE_FOLDER = 'usr/lib/bench/d0';
/** In every input: where programs may write; as in any Debian root. */
export const WORK_FOLDER = 'var/tmp';

const MIB = 1024 ** 2;

/** Content that is nowhere the same, so that nothing is stored or cached once by chance. */
async function writeNoise(file: string, bytes: number, signal: AbortSignal): Promise<void> {
  await runProgram('sh', ['-ec', 'head -c "$1" /dev/urandom > "$2"', 'sh', String(bytes), file], { signal });
}

async function makeFolders(folder: string): Promise<string> {
  const own = join(folder, 'usr/lib/bench');
  await mkdir(own, { recursive: true });
  await mkdir(join(folder, WORK_FOLDER), { recursive: true, mode: 0o1777 });
  return own;
}

function files(name: InputName, driver: string, folders: number, each: number): InputSource {
  return {
    name,
    fill: async (folder, signal) => {
      const own = await makeFolders(folder);
      await runProgram(driver, ['make-tree', own, String(folders), String(each)], { signal });
    },
  };
}

export interface InputOptions {
  readonly debianTar: string;
  readonly quick: boolean;
  /** The driver's binary, which makes trees of many files fast. */
  readonly driver: string;
}

/** The source of each input. Nothing is made before it is asked for. */
export function inputSource(name: InputName, { debianTar, quick, driver }: InputOptions): InputSource {
  switch (name) {
    case 'debian':
      return {
        name,
        tar: debianTar,
        fill: async (folder, signal) => {
          await runProgram('tar', ['-x', '--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '-p', '-f', debianTar, '-C', folder], { signal });
        },
      };
    case 'data':
      return {
        name,
        fill: async (folder, signal) => {
          const own = await makeFolders(folder);
          await writeNoise(join(own, 'data'), DATA_FILE_MIB * MIB, signal);
          await mkdir(join(own, 'mib'));
          for (let at = 0; at < 64; at++) await writeNoise(join(own, 'mib', String(at)), MIB, signal);
        },
      };
    case 'large':
      return {
        name,
        fill: async (folder, signal) => {
          await writeNoise(join(await makeFolders(folder), 'large'), (quick ? 128 : 1024) * MIB, signal);
        },
      };
    case 'wide':
      return files(name, driver, 1, 100_000);
    case 'files-10k':
      return files(name, driver, 100, 100);
    case 'files-100k':
      return files(name, driver, 1000, 100);
    case 'files-1m':
      return files(name, driver, 10_000, 100);
  }
}
