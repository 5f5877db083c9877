import type { InstalledPackage } from '../package-manager.js';
import { openDpkgDatabase } from './dpkg-database.js';
import { openRpmDatabase } from './rpm-database.js';

/*
 * Databases of packages, read as files: nothing of the container runs, nothing is mounted, and what is read is hostile: sizes
 * are bounded, and what makes no sense is left out.
 */

/** Where a database's files come from. Paths are absolute; symlinks are followed within the root. */
export interface DatabaseFiles {
  /** undefined: there is no such file. @throws DatabaseUnreadable for one that cannot be read without a mount */
  read(path: string, mostBytes: number): Buffer | undefined;
  /** The names in a folder; none if there is none. */
  names(folder: string): string[];
}

/** There is a database, and it cannot be read like this. */
export class DatabaseUnreadable extends Error {}

/** Which rules versions follow. */
export type VersionRules = 'dpkg' | 'rpm';

export interface PackageDatabase {
  readonly rules: VersionRules;
  readonly packages: readonly InstalledPackage[];
  /** What a package has put into the root, as absolute paths, folders too. */
  filesOf(installed: InstalledPackage): readonly string[];
}

/** The database of a root, whichever it has; undefined for one without. @throws DatabaseUnreadable */
export function openPackageDatabase(files: DatabaseFiles): PackageDatabase | undefined {
  return openDpkgDatabase(files) ?? openRpmDatabase(files);
}
