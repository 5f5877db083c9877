import type { Repository, TemplateDefinition } from './definition.js';

/** Debian's names of architectures, by those of `uname -m`. */
export const DEBIAN_ARCHITECTURES: Readonly<Record<string, string>> = {
  x86_64: 'amd64', i686: 'i386', aarch64: 'arm64', armv7l: 'armhf', ppc64le: 'ppc64el', riscv64: 'riscv64', s390x: 's390x',
};

/** Variants of mmdebstrap that make a root in which apt works. */
export const BOOTSTRAP_VARIANTS = ['apt', 'minbase', 'important', 'standard'] as const;
export type BootstrapVariant = (typeof BOOTSTRAP_VARIANTS)[number];

/** One line of sources.list; the keyring stands in it, so that no other key of the host's is trusted for it. */
export function sourcesLine(repository: Repository, keys: readonly string[]): string {
  const signedBy = keys.length === 0 ? '' : `[signed-by=${keys.join(',')}] `;
  return `deb ${signedBy}${repository.uri} ${repository.suite} ${repository.components.join(' ')}`;
}

/** Scripts that mmdebstrap runs with the path of the new root as their argument; absolute paths. */
export interface BootstrapHooks {
  readonly preCache: string | undefined;
  readonly postCache: string | undefined;
  readonly cleanUp: string;
}

/** The arguments of mmdebstrap that make `definition`'s root as a tar on stdout. */
export function mmdebstrapArguments(definition: TemplateDefinition, variant: BootstrapVariant, hooks: BootstrapHooks): string[] {
  const { packages, repositories } = definition;
  const include = [...new Set([...packages.minimal, ...packages.base, ...packages.main])];
  return [
    '--mode=root',
    '--format=tar',
    `--variant=${variant}`,
    `--architectures=${DEBIAN_ARCHITECTURES[definition.architecture] ?? definition.architecture}`,
    ...(include.length === 0 ? [] : [`--include=${include.join(',')}`]),
    // Temporary; the clean-up hook removes both files. A mirror that does not answer is named after a minute, not ten.
    '--aptopt=Acquire::Retries "2"',
    '--aptopt=Acquire::http::Timeout "20"',
    '--aptopt=Acquire::https::Timeout "20"',
    '--dpkgopt=force-unsafe-io', // the root is packed and thrown away: no fsync for each file
    ...(hooks.preCache === undefined ? [] : [`--setup-hook=${hooks.preCache}`]),
    ...(hooks.postCache === undefined ? [] : [`--customize-hook=${hooks.postCache}`]),
    `--customize-hook=${hooks.cleanUp}`,
    '--',
    repositories[0]?.suite ?? '',
    '-',
    ...repositories.map((repository) => sourcesLine(repository, definition.keys)),
  ];
}
