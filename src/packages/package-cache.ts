import { createHash } from 'node:crypto';
import { createReadStream, existsSync, linkSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { makeFolder, syncFolder } from '../store/write-file-durably.js';
import { downloadChecked, type DownloadOptions } from './download-checked.js';
import type { FetchedPackage, PackageFile } from './package-manager.js';

/** Packages that this process is downloading: several containers may want one at once. */
const underWay = new Map<string, Promise<void>>();

/**
 * What all containers of a store share of the world outside: packages by their SHA-256, and metadata of repositories.
 *
 *   cache/packages/<sha256>     a package, 0444; its name is its proof
 *   cache/metadata/<name>/      what a driver keeps of one repository; written as a whole, by rename
 */
export class PackageCache {
  readonly #paths: StorePaths;

  constructor(paths: StorePaths) {
    this.#paths = paths;
  }

  get packages(): string {
    return join(this.#paths.cache, 'packages');
  }

  /** Where a driver keeps what it knows of one repository. `key` says all that the metadata depend on. */
  metadataFolder(driver: string, key: string): string {
    const digest = createHash('sha256').update(key).digest('hex').slice(0, 24);
    return join(this.#paths.cache, 'metadata', `${driver}-${digest}`);
  }

  /** What `state.json` of such a folder says: it is what makes the other files there count. */
  metadataState(folder: string): unknown {
    try {
      return JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')) as unknown;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined; // fetched anew
      throw error;
    }
  }

  path(sha256: string): string {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error(`not a SHA-256: ${sha256}`);
    return join(this.packages, sha256);
  }

  has(file: Pick<PackageFile, 'sha256' | 'sizeBytes'>): boolean {
    return statSync(this.path(file.sha256), { throwIfNoEntry: false })?.size === file.sizeBytes;
  }

  /**
   * Brings a package into the cache, unless it is there. What is there was checked when it came, and only root can change it.
   *
   * @throws NO_MIRROR, INTEGRITY when it is not what the signed metadata say, NO_SPACE
   */
  async fetch(file: PackageFile, options: DownloadOptions = {}): Promise<FetchedPackage> {
    const path = this.path(file.sha256);
    if (this.has(file)) {
      options.onBytes?.(file.sizeBytes);
      return { ...file, path };
    }
    const download = underWay.get(path) ?? this.#bring(file, path, options);
    underWay.set(path, download);
    try {
      await download;
    } finally {
      underWay.delete(path);
    }
    return { ...file, path };
  }

  async #bring(file: PackageFile, path: string, options: DownloadOptions): Promise<void> {
    makeFolder(this.packages);
    await downloadChecked(
      { url: file.url, limitBytes: file.sizeBytes, sizeBytes: file.sizeBytes, algorithm: 'sha256', sum: file.sha256 },
      path,
      options,
    );
    syncFolder(this.packages);
  }

  /** Makes `fetched` appear in `folder` under the names that the package manager wants. Both lie on one file system. */
  linkInto(fetched: readonly FetchedPackage[], folder: string): void {
    for (const { path, fileName } of fetched) {
      if (!/^[A-Za-z0-9][A-Za-z0-9.+~%:^_-]*$/.test(fileName)) throw new Error(`no file name for a package: ${fileName}`);
      linkSync(path, join(folder, fileName));
    }
  }

  /** Removes what only saves downloads. Packages that a command is using stay usable: it has links of its own. */
  clean(options: { readonly metadata: boolean }): { files: number; bytes: number } {
    let files = 0;
    let bytes = 0;
    const folders = [this.packages, join(this.#paths.cache, 'replays'), ...(options.metadata ? [join(this.#paths.cache, 'metadata')] : [])];
    for (const folder of folders) {
      if (!existsSync(folder)) continue;
      for (const name of readdirSync(folder)) {
        const path = join(folder, name);
        for (const file of [path, ...insideOf(path)]) {
          const status = statSync(file, { throwIfNoEntry: false });
          if (status?.isFile() !== true) continue;
          files += 1;
          bytes += status.size;
        }
        rmSync(path, { recursive: true, force: true });
      }
    }
    return { files, bytes };
  }
}

function insideOf(path: string): string[] {
  try {
    return readdirSync(path).map((name) => join(path, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR' || errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** SHA-256 of a file, in hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}
