import type { PackageChange } from '../packages/package-manager.js';
import type { ServiceContext } from './context.js';
import { withPackageSession } from './package-session.js';
import { packageSource } from './package-source.js';

/** What `status` says. */
export interface PackageStatus {
  readonly name: string;
  readonly upToDate: boolean;
  readonly outdated: readonly PackageChange[];
}

export interface StatusOptions {
  readonly name: string;
  /** Metadata that were fetched so lately do. */
  readonly maxAgeMs: number;
}

/** Which packages of a container the repositories of its templates have newer ones of. @throws as `install --dry-run` */
export async function packageStatus(context: ServiceContext, { name, maxAgeMs }: StatusOptions): Promise<PackageStatus> {
  return withPackageSession(context, name, async ({ definitions, programs, host }) => {
    const source = packageSource(definitions.os, definitions.installed.flatMap(({ definition }) => (definition === undefined ? [] : [definition])));
    await definitions.driver.refresh(host, source, { maxAgeMs });
    const outdated = await definitions.driver.outdated(host, programs, source);
    return { name, upToDate: outdated.length === 0, outdated };
  });
}
