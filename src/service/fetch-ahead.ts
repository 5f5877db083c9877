import type { ServiceContext } from './context.js';
import { fetchPackages } from './fetch-packages.js';
import { withPackageSession } from './package-session.js';
import { appDefinition, packageSource } from './package-source.js';
import { withTemporaryContainer } from './temporary-container.js';

export interface FetchedAhead {
  readonly template: string;
  readonly apptemplates: readonly string[];
  /** Packages that a container of the template would need, and their size. */
  readonly packages: number;
  readonly bytes: number;
  /** Of these, what was not there before. */
  readonly downloadedBytes: number;
}

export interface FetchAheadOptions {
  /** An OS template of the store. */
  readonly template: string;
  readonly apps: readonly string[];
  readonly packages: readonly string[];
}

/**
 * Downloads metadata of an OS template's repositories, and all packages that its containers need for these app templates, so that
 * they can be installed where there is no network. Also brings what an update of such a container would need.
 *
 * @throws TEMPLATE_NOT_FOUND, INTEGRITY, NO_MIRROR, NO_SPACE, PACKAGE_NOT_FOUND
 */
export async function fetchAhead(context: ServiceContext, { template, apps, packages }: FetchAheadOptions): Promise<FetchedAhead> {
  return withTemporaryContainer(context, template, (name) =>
    withPackageSession(context, name, async ({ definitions, programs, host }) => {
      const found = await Promise.all(apps.map((app) => appDefinition(context, definitions.os, app)));
      const source = packageSource(definitions.os, found);
      await definitions.driver.refresh(host, source, { maxAgeMs: 0 });
      const wanted = [...new Set([...found.flatMap(({ packages: stages }) => [...stages.minimal, ...stages.base, ...stages.main]), ...packages])];
      const plans = [await definitions.driver.plan(host, programs, source, { kind: 'update', packages: [] })];
      if (wanted.length > 0) plans.push(await definitions.driver.plan(host, programs, source, { kind: 'install', packages: wanted, groups: [], files: [] }));
      const files = [...new Map(plans.flatMap(({ downloads }) => downloads).map((file) => [file.sha256, file])).values()];
      const sum = (some: typeof files): number => some.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
      const downloadedBytes = sum(files.filter((file) => !host.cache.has(file)));
      await fetchPackages(host, files);
      return { template, apptemplates: found.map((definition) => definition.name), packages: files.length, bytes: sum(files), downloadedBytes };
    }),
  );
}
