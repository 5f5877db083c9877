import type { PackageManager, Repository } from '../templates/definition.js';
import type { PackageCache } from './package-cache.js';
import type { ContentsOptions, PackageContents } from './package-contents.js';

/*
 * What the installer needs of a package manager: the one interface behind which apt, dnf and zypper stand, one file each.
 *
 *   refresh   host       fetches the repositories' metadata and checks their signatures
 *   installed container  what the container's own database says
 *   plan      container  the container's package manager resolves, without network, on metadata that the host hands in
 *   (host)               every package of the plan is looked up in the signed metadata, downloaded, and checked
 *   apply     container  the container's package manager installs, without network, what the host hands in
 *
 * What comes out of a container is a proposal of hostile code: a driver turns it into names and versions, and nothing is fetched
 * that the signed metadata do not have. docs/installer.md has the whole flow and how to add a package manager.
 */

/** Where packages come from, and whose signatures count. */
export interface PackageSource {
  /** Named in errors: `debian-12-x86_64-php`. */
  readonly template: string;
  readonly repositories: readonly Repository[];
  /** URLs of mirror lists; never for apt. */
  readonly mirrorLists: readonly string[];
  /** Absolute paths of keyrings on the host (.gpg, .pgp, .asc); never empty. */
  readonly keys: readonly string[];
  /** As `uname -m` says it. */
  readonly architecture: string;
  /** Release of the distribution: `12`. */
  readonly release: string;
}

/** What the host's side of a driver works with. */
export interface PackageHost {
  /** Metadata and packages of all containers of the store. */
  readonly cache: PackageCache;
  /** Makes an empty folder on the cache's file system; the caller of the driver removes it. */
  readonly makeWorkFolder: () => Promise<string>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly step: string; readonly done: number; readonly total?: number; readonly unit: 'bytes' | 'items' }) => void;
  readonly onNotice?: (text: string) => void;
  /** A line of the package manager's own output. */
  readonly onLog?: (line: string) => void;
}

export interface ContainerCommand {
  /** Text of a `/bin/sh` script. It is run by the container's own shell: hostile code, like all that it starts. */
  readonly script: string;
  /** `$1`, `$2`, … of the script; never interpolate names into its text. */
  readonly arguments?: readonly string[];
  /** A folder of the host that the container sees, read-only, at INPUT_FOLDER. */
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Each line of stdout and stderr as it comes. */
  readonly onLine?: (line: string) => void;
}

export interface ContainerAnswer {
  /** 128 + n if signal n ended it. */
  readonly status: number;
  /** stdout; a command that writes more than the limit (64 MiB) is ended and fails. */
  readonly output: string;
  /** The last lines of stderr. */
  readonly errors: string;
}

export { INPUT_FOLDER } from '../sandbox/stage-arguments.js';

/** A folder of the container in memory, for the time of one command: make it, use it, leave it. native/enter/container_mounts.cc has the name, too. */
export const WORK_FOLDER = '/run/templatefs-work';

/** In the environment of every command: `none` in a container that does not run, where scripts must start no services; else `running`. */
export const SERVICES_VARIABLE = 'TEMPLATEFS_SERVICES';

/**
 * Runs programs of one container: in the sandbox, without network, where all that they leave running is ended with them; or in the namespaces
 * of a container that runs, where services go on.
 */
export interface ContainerPrograms {
  run(command: ContainerCommand): Promise<ContainerAnswer>;
}

/** A package of the container's database. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  /** In the package manager's own words: `amd64`, `noarch`. */
  readonly architecture: string;
}

export type PackageRequest =
  | {
      readonly kind: 'install';
      /** Names as the package manager takes them. */
      readonly packages: readonly string[];
      /** apt: tasks; dnf: groups; zypper: patterns. */
      readonly groups: readonly string[];
      /** Package files of the host, which its root has chosen: their signatures are not asked for. */
      readonly files: readonly string[];
      /** Also what is installed already, older versions, and packages on hold. */
      readonly force?: boolean;
    }
  | {
      readonly kind: 'update';
      /** Empty: all that are installed. */
      readonly packages: readonly string[];
    }
  | {
      readonly kind: 'remove';
      readonly packages: readonly string[];
      /** Also packages that need these; without it such a plan is refused. */
      readonly withDependants: boolean;
    };

export type PackageAction = 'install' | 'upgrade' | 'downgrade' | 'reinstall' | 'remove';

export interface PackageChange {
  readonly name: string;
  readonly architecture: string;
  readonly action: PackageAction;
  /** The version that is installed; null for a new package. */
  readonly from: string | null;
  /** The version that it becomes; null for one that goes. */
  readonly to: string | null;
}

/** A package as signed metadata name it. */
export interface PackageFile {
  /** How the package manager of the container wants the file to be called. */
  readonly fileName: string;
  readonly url: string;
  /** In hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface PackagePlan {
  readonly changes: readonly PackageChange[];
  /** What has to be there before `apply`; of local files nothing. */
  readonly downloads: readonly PackageFile[];
}

/** A package with where it lies in the cache. */
export interface FetchedPackage extends PackageFile {
  /** On the host; never written to, and handed to a container by a read-only mount only. */
  readonly path: string;
}

export interface RefreshOptions {
  /** Metadata that were fetched and checked so lately are not asked for again. */
  readonly maxAgeMs: number;
}

export interface PackageManagerDriver {
  readonly name: PackageManager;
  /** Files that scripts of packages make and that must differ between containers: shell patterns from `/`. */
  readonly secretPaths: readonly string[];
  /**
   * Fetches metadata of `source` into the cache and checks their signatures, expiry and hashes. Metadata that are there and
   * still valid do when no mirror can be reached.
   *
   * @throws INTEGRITY (unsigned, wrongly signed, tampered, expired), NO_MIRROR
   */
  refresh(host: PackageHost, source: PackageSource, options: RefreshOptions): Promise<void>;
  /** @throws PACKAGE_MANAGER_FAILED */
  installed(programs: ContainerPrograms): Promise<InstalledPackage[]>;
  /**
   * Lets the container's package manager resolve a request against its own state and the checked metadata. Changes nothing.
   *
   * @throws PACKAGE_NOT_FOUND, PACKAGE_MANAGER_FAILED with its own words, INTEGRITY when it wants what is not in signed metadata
   */
  plan(host: PackageHost, programs: ContainerPrograms, source: PackageSource, request: PackageRequest): Promise<PackagePlan>;
  /**
   * Carries a plan out in the container. Package scripts run. Configuration files that were changed are kept.
   *
   * @param fetched all of `plan.downloads` @throws PACKAGE_MANAGER_FAILED
   */
  apply(
    host: PackageHost,
    programs: ContainerPrograms,
    source: PackageSource,
    work: { readonly request: PackageRequest; readonly plan: PackagePlan; readonly fetched: readonly FetchedPackage[] },
  ): Promise<void>;
  /**
   * Of these files, those whose content no package has brought: made by a script, or changed by one.
   *
   * @throws PACKAGE_MANAGER_FAILED
   */
  unowned(programs: ContainerPrograms, paths: readonly string[]): Promise<string[]>;
  /**
   * What packages bring, and what those have that go, by their own lists. A package that is removed and leaves its configuration does not
   * list it.
   *
   * @throws PACKAGE_MANAGER_FAILED
   */
  contents(host: PackageHost, options: ContentsOptions): Promise<PackageContents[]>;
  /** The packages of `source` that a newer version is there for, by the container's own rules. */
  outdated(host: PackageHost, programs: ContainerPrograms, source: PackageSource): Promise<PackageChange[]>;
}
