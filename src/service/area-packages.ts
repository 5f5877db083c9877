import { openPackageDatabase, DatabaseUnreadable, type DatabaseFiles, type PackageDatabase } from '../packages/database/package-database.js';
import type { InstalledPackage } from '../packages/package-manager.js';
import { rawFromText, type RawName } from '../store/raw-names.js';
import type { AreaView } from './area-view.js';
import { isFile, modeOf, nameOf, type RootEntry } from './root-view.js';

/** Files of a root for a reader of package databases. */
function filesOf(view: AreaView): DatabaseFiles {
  return {
    read(path, most) {
      const entry = view.resolve(path, true);
      if (entry === undefined || !isFile(entry)) return undefined;
      const bytes = view.read(entry, most);
      if (bytes === undefined) throw new DatabaseUnreadable(`${path} is partly its own: only its engine can put it together`);
      return bytes;
    },
    names(folder) {
      const entry = view.resolve(folder, true);
      return entry === undefined ? [] : view.root.children(entry).map(({ path }) => nameOf(path));
    },
  };
}

/** What a root says of its packages, without mounting it; undefined for one without a database. @throws DatabaseUnreadable */
export function packageDatabaseOf(view: AreaView): PackageDatabase | undefined {
  return openPackageDatabase(filesOf(view));
}

/** Folders that merged-/usr systems have as symlinks: databases name files by either path. */
const MERGED_FOLDERS = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'libo32'];

/** Says which package has brought a path. */
export class PackageOwners {
  readonly #owners = new Map<RawName, InstalledPackage>();
  readonly #aliases = new Map<string, RawName>();

  /** @param packages those whose files count: each costs a file to read */
  constructor(view: AreaView, database: PackageDatabase, packages: readonly InstalledPackage[]) {
    for (const folder of MERGED_FOLDERS) {
      const path = `/${folder}`;
      const entry = view.root.at(path);
      const target = entry === undefined || (modeOf(entry) & 0o170000) !== 0o120000 ? undefined : view.resolve(path, true);
      if (target !== undefined) this.#aliases.set(path, target.path);
    }
    for (const one of packages) for (const path of database.filesOf(one)) this.#owners.set(this.real(path), one);
  }

  ownerOf(path: RawName): InstalledPackage | undefined {
    return this.#owners.get(path);
  }

  /** A path of a database as the root has it. */
  real(path: RawName): RawName {
    const end = path.indexOf('/', 1);
    const top = end < 0 ? path : path.slice(0, end);
    const alias = this.#aliases.get(top);
    return alias === undefined ? path : `${alias}${path.slice(top.length)}`;
  }

  /** Looks one path up among all packages. */
  static find(view: AreaView, database: PackageDatabase, entry: RootEntry): InstalledPackage | undefined {
    const owners = new PackageOwners(view, database, []);
    return database.packages.find((one) => database.filesOf(one).some((path) => owners.real(path) === entry.path));
  }
}

/** A path that a user gave, as bytes. */
export function rawPath(path: string): RawName {
  return rawFromText(path);
}

/** One text for a package in one version. */
export function packageKey({ name, version, architecture }: InstalledPackage): string {
  return `${name} ${version} ${architecture}`;
}
