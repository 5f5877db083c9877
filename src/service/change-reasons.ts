import { DatabaseUnreadable, type PackageDatabase } from '../packages/database/package-database.js';
import type { InstalledPackage } from '../packages/package-manager.js';
import { PackageOwners, packageDatabaseOf, packageKey } from './area-packages.js';
import { AreaView } from './area-view.js';
import type { ServiceContext } from './context.js';
import type { RawChange } from './private-view.js';

/** Why a path differs from the template. */
export type ChangeReason =
  /** It belongs to a package that the container has installed, upgraded or removed since. */
  | 'package'
  /** Only its owner, mode, times or xattrs differ. */
  | 'metadata'
  /** Somebody wrote, moved or removed it. */
  | 'written';

export interface ReasonedChange {
  readonly reason: ChangeReason;
  /** The package in its version, for the reason `package`; of one that was removed that of the template. */
  readonly package?: { readonly name: string; readonly version: string };
}

/** Owners of paths by packages that one root has, and another has not in this version. */
function ownersOf(view: AreaView, database: PackageDatabase | undefined, other: PackageDatabase | undefined): PackageOwners | undefined {
  if (database === undefined) return undefined;
  const same = new Set(other?.packages.map(packageKey));
  return new PackageOwners(view, database, database.packages.filter((one) => !same.has(packageKey(one))));
}

function databaseOf(view: AreaView): PackageDatabase | undefined {
  try {
    return packageDatabaseOf(view);
  } catch (error) {
    if (error instanceof DatabaseUnreadable) return undefined;
    throw error;
  }
}

/** Tells for each change why it is there, by what the databases of packages say before and after. */
export class ChangeReasons implements Disposable {
  readonly #base: AreaView;
  readonly #now: PackageOwners | undefined;
  readonly #before: PackageOwners | undefined;

  /** @throws BAD_TREE, IO_ERROR */
  constructor(context: ServiceContext, view: AreaView) {
    this.#base = AreaView.ofTree(context, view.area.tree);
    try {
      const [now, before] = [databaseOf(view), databaseOf(this.#base)];
      this.#now = ownersOf(view, now, before);
      this.#before = ownersOf(this.#base, before, now);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#base[Symbol.dispose]();
  }

  of({ raw, change, type }: RawChange): ReasonedChange {
    const owner: InstalledPackage | undefined = change === 'deleted' ? this.#before?.ownerOf(raw) : this.#now?.ownerOf(raw);
    // A folder that is there before and after is that of many packages.
    if (owner !== undefined && !(type === 'dir' && change === 'metadata')) return { reason: 'package', package: { name: owner.name, version: owner.version } };
    return { reason: change === 'metadata' ? 'metadata' : 'written' };
  }
}
