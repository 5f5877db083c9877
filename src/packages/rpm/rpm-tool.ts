import type { TemplatefsError } from '../../core/errors.js';
import type { ContainerAnswer, ContainerCommand, PackageChange, PackageRequest } from '../package-manager.js';

/*
 * What dnf and zypper do in their own ways; everything else of the RPM family is in rpm-driver.ts.
 *
 * Scripts find in INPUT_FOLDER: repos.d/templatefs.repo, a folder for each repository that it names, packages of the host in files/,
 * and what `files` of their step says. TEMPLATEFS_ROOT is empty, or the root to be bootstrapped by the host's package manager.
 */

/** What a package manager writes that nobody needs afterwards goes there. */
export { WORK_FOLDER } from '../package-manager.js';

export interface RpmStep extends Pick<ContainerCommand, 'script' | 'arguments'> {
  /** Small files to put into INPUT_FOLDER, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface RpmProposal {
  readonly changes: readonly PackageChange[];
  /** For a removal: what goes because it needs the packages that were asked for. */
  readonly dependants: readonly string[];
}

export interface RpmTool {
  readonly name: 'dnf' | 'zypper';
  /** How it is told that a repository lies in a folder, and its packages are not to be copied. */
  readonly folderScheme: 'file' | 'dir';
  /** Options of a repository in the .repo file beyond name and place. */
  readonly repositoryOptions: readonly string[];
  isName(name: string): boolean;
  plan(request: PackageRequest): RpmStep;
  /** @throws PACKAGE_NOT_FOUND, PACKAGE_MANAGER_FAILED */
  readPlan(request: PackageRequest, answer: ContainerAnswer): RpmProposal;
  apply(request: PackageRequest, changes: readonly PackageChange[]): RpmStep;
  /** Whether a line of its output is a step that is worth a tick of the progress bar. */
  readonly step: RegExp;
  failure(what: string, answer: ContainerAnswer): TemplatefsError;
}

/** Names of packages for the command line: nothing that an option or a path could be made of. */
export const PACKAGE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+:~^-]*$/;

/** Whether a word of a request means this package: NAME, NAME.ARCH, NAME-VERSION, NAME-VERSION-RELEASE, NAME-VERSION-RELEASE.ARCH. */
export function isMeant(words: readonly string[], { name, architecture, from }: PackageChange): boolean {
  const full = from ?? '';
  const plain = full.replace(/^\d+:/, '');
  const versions = [full, plain, plain.replace(/-[^-]*$/, '')].flatMap((version) => [`${name}-${version}`, `${name}-${version}.${architecture}`]);
  return words.some((word) => word === name || word === `${name}.${architecture}` || versions.includes(word));
}
