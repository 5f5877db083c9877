import type { SharedPaths } from '../core/shared-paths.js';
import type { SecretRule } from './secret-rules.js';

export type TemplateKind = 'os' | 'extra-os' | 'app';

export const PACKAGE_MANAGERS = ['apt', 'dnf', 'zypper'] as const;
export type PackageManager = (typeof PACKAGE_MANAGERS)[number];

/** One line of `repositories`. */
export interface Repository {
  /** With all variables replaced. */
  readonly uri: string;
  /** apt: the suite, as `bookworm-updates`; empty for the other package managers. */
  readonly suite: string;
  /** apt: at least one; empty for the other package managers. */
  readonly components: readonly string[];
}

/** vzpkg installs a Debian template in three stages; here they are one transaction, in this order. */
export interface PackageStages {
  /** `packages_0`: what a minimal chroot needs before its package manager runs. */
  readonly minimal: readonly string[];
  /** `packages_1`: what the rest needs to be installed. */
  readonly base: readonly string[];
  /** `packages` */
  readonly main: readonly string[];
}

/** Run while an OS template is made: `pre-cache` on the host, `post-cache` in the new root. */
export const CACHE_SCRIPTS = ['pre-cache', 'post-cache'] as const;

/** Run when packages of a template are installed, updated or removed; `-hn` ones on the host, the others in the container. */
export const TRANSACTION_SCRIPTS = [
  'pre-install', 'mid-pre-install', 'mid-post-install', 'post-install', 'pre-install-hn', 'post-install-hn',
  'pre-update', 'mid-pre-update', 'mid-post-update', 'post-update', 'pre-update-hn', 'post-update-hn',
  'pre-remove', 'mid-pre-remove', 'mid-post-remove', 'post-remove', 'pre-remove-hn', 'post-remove-hn',
] as const;

export type ScriptName = (typeof CACHE_SCRIPTS)[number] | (typeof TRANSACTION_SCRIPTS)[number];

/** An EZ template definition, read and checked, with what it inherits. docs/templates.md describes the files. */
export interface TemplateDefinition {
  /** As in `debian-12-x86_64`, `debian-12-x86_64-webserver`, `debian-12-x86_64-php`. */
  readonly name: string;
  readonly kind: TemplateKind;
  /** Name of the OS template that this one extends; undefined for an OS template. */
  readonly base: string | undefined;
  /** The folder that it was read from; of several flavors the last one's. */
  readonly folder: string;
  readonly distribution: string;
  /** Release of the distribution, as in the name: `12`. */
  readonly release: string;
  /** As `uname -m` says it: `x86_64`. */
  readonly architecture: string;
  readonly packageManager: PackageManager;
  readonly repositories: readonly Repository[];
  /** URLs of mirror lists; never for apt. */
  readonly mirrorLists: readonly string[];
  /** Absolute paths of the keyrings that sign the repositories; empty: the package manager's own trusted keys. */
  readonly keys: readonly string[];
  readonly packages: PackageStages;
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute paths. */
  readonly scripts: Readonly<Partial<Record<ScriptName, string>>>;
  /** What becomes of secrets when a template is made of a container; later ones count before earlier ones. */
  readonly secrets: readonly SecretRule[];
  readonly summary: string;
  readonly description: string;
  /** Folders whose files are shared while they are open; undefined: what the store says. */
  readonly sharedPaths: SharedPaths | undefined;
  /** Kernel release that the distribution came with; shown, never used. */
  readonly osRelease: string | undefined;
  /** Releases from which a container can be upgraded to this template. */
  readonly upgradableVersions: readonly string[];
}
