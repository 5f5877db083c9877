import { copyFileSync, linkSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { ContainerAnswer, ContainerPrograms, PackageChange, PackageHost } from './package-manager.js';

/** What a package says of itself, for a plan by paths. */
export interface PackageContents {
  readonly name: string;
  /** false: it is installed, and goes or makes room for another version. */
  readonly isComing: boolean;
  /** From `/`; folders end with `/`, where that is known: of a package that is coming. */
  readonly paths: readonly string[];
  /** Those that are configuration. */
  readonly configuration: ReadonlySet<string>;
  /** It has scripts, which may change anything in the container. */
  readonly hasScripts: boolean;
}

export interface ContentsOptions {
  readonly programs: ContainerPrograms;
  /** Package files of the host, whole and checked. */
  readonly files: readonly string[];
  readonly changes: readonly PackageChange[];
}

/** How a package manager is asked for the contents of packages. */
export interface ContentsQuery {
  /**
   * Finds package files in INPUT_FOLDER/contents, and the names of installed packages as its arguments. For each it prints a line
   * `coming NAME SCRIPTS` or `going NAME SCRIPTS`, where SCRIPTS is 0 for none, and then lines `p PATH`, `d FOLDER` and, once more, `c PATH` for
   * configuration.
   */
  readonly script: string;
  readonly nameOf: (change: PackageChange) => string;
  readonly failure: (what: string, answer: ContainerAnswer) => Error;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]*$/;
/** More than a whole distribution has: a container that says more is not believed. */
const LIMIT = 2_000_000;

/** Reads what such a script prints. It comes from hostile code: what is no line of it is left out. */
export function parseContents(output: string): PackageContents[] {
  const found: (PackageContents & { paths: string[]; configuration: Set<string> })[] = [];
  let lines = 0;
  for (const line of output.split('\n')) {
    if ((lines += 1) > LIMIT) break;
    const [, which, name = '', scripts] = /^(coming|going) (\S+) ([0-9]+)$/.exec(line) ?? [];
    if (which !== undefined) {
      if (NAME.test(name)) found.push({ name, isComing: which === 'coming', paths: [], configuration: new Set(), hasScripts: scripts !== '0' });
      continue;
    }
    const [, kind, path = ''] = /^([pdc]) (\/.*)$/.exec(line) ?? [];
    const of = found.at(-1);
    if (kind === undefined || of === undefined || path.split('/').includes('..')) continue;
    if (kind === 'c') of.configuration.add(path);
    else if (path !== '/' && path !== '/.') of.paths.push(kind === 'd' ? `${path.replace(/\/+$/, '')}/` : path);
  }
  return found;
}

/** Asks the container's package manager what is in package files, and in the packages that they replace. @throws PACKAGE_MANAGER_FAILED */
export async function queryContents(host: PackageHost, { script, nameOf, failure }: ContentsQuery, { programs, files, changes }: ContentsOptions): Promise<PackageContents[]> {
  const folder = await host.makeWorkFolder();
  const place = join(folder, 'contents');
  mkdirSync(place, { mode: 0o755 });
  for (const [at, file] of files.entries()) {
    const target = join(place, String(at).padStart(6, '0'));
    try {
      linkSync(file, target);
    } catch (error) {
      if (errnoOf(error) !== 'EXDEV' && errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'EMLINK') throw error;
      copyFileSync(file, target);
    }
  }
  const going = changes.filter(({ from }) => from !== null).map(nameOf);
  const answer = await programs.run({ script, arguments: going, input: folder });
  if (answer.status !== 0) throw failure('reading what the packages contain', answer);
  return parseContents(answer.output);
}
