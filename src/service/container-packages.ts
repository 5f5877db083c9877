import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { appsOf } from '../catalog/apps-of-container.js';
import { readContainerFile } from '../catalog/container-file.js';
import type { InstalledPackage, PackageChange } from '../packages/package-manager.js';
import { makeFolder, writeFileDurably } from '../store/write-file-durably.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer, findTemplate } from './find-record.js';
import { withPackageSession } from './package-session.js';
import { packageSource } from './package-source.js';
import { withTemporaryContainer } from './temporary-container.js';

/** A package of a container, and where it came from. */
export interface ListedPackage extends InstalledPackage {
  /** The template that brought it: the OS template, an app template, or null for one that was installed by name or from within. */
  readonly template: string | null;
  /** The version that the repositories have, if it is newer; null if not, or if they were never asked. */
  readonly newer: string | null;
}

/** What `list CT` says. */
export interface ContainerPackages {
  readonly name: string;
  readonly ostemplate: string;
  readonly apptemplates: readonly string[];
  readonly packages: readonly ListedPackage[];
}

/** The packages of a template as it was made; asked once for each tree. */
async function templatePackages(context: ServiceContext, template: { name: string; tree: string }): Promise<Set<string>> {
  const folder = join(context.paths.cache, 'template-packages');
  const path = join(folder, template.tree);
  if (existsSync(path)) return new Set(readFileSync(path, 'utf8').split('\n'));
  const names = await withTemporaryContainer(context, template.name, (name) =>
    withPackageSession(context, name, async ({ definitions, programs }) => (await definitions.driver.installed(programs)).map((one) => one.name)),
  );
  makeFolder(folder);
  writeFileDurably(path, names.join('\n'));
  return new Set(names);
}

/** Which app template brought which packages, by what the transactions have noted. */
function packagesOfApps(context: ServiceContext, container: string, apps: readonly string[]): Map<string, string> {
  using opened = openForReading(context);
  const owners = new Map<string, string>();
  for (const { state, request, changes } of opened.catalog.transactions(container)) {
    if (state !== 'done') continue;
    const { templates } = JSON.parse(request) as { readonly templates: readonly string[] };
    const owner = apps.find((app) => templates.includes(app));
    for (const { name, action } of JSON.parse(changes) as PackageChange[]) {
      if (action === 'remove') owners.delete(name);
      else if (action === 'install' && owner !== undefined) owners.set(name, owner);
    }
  }
  return owners;
}

/**
 * The templates and packages of a container, with what is out of date by the metadata that are there.
 *
 * @throws CONTAINER_NOT_FOUND, PACKAGE_MANAGER_FAILED, FUSE_UNAVAILABLE, BUSY
 */
export async function containerPackages(context: ServiceContext, name: string): Promise<ContainerPackages> {
  const template = (() => {
    using opened = openForReading(context);
    return findTemplate(opened.catalog, findContainer(opened.catalog, name).template);
  })();
  const file = readContainerFile(context.paths.containerFile(name));
  const apps = file === undefined ? [] : appsOf(file);
  const base = await templatePackages(context, { name: template.name, tree: template.tree });
  const byApp = packagesOfApps(context, name, apps.map((app) => app.template));
  const named = new Map(apps.flatMap((app) => app.packages.map((one) => [one, app.template] as const)));
  return withPackageSession(context, name, async ({ definitions, programs, host }) => {
    const packages = await definitions.driver.installed(programs);
    const source = packageSource(definitions.os, definitions.installed.flatMap(({ definition }) => (definition === undefined ? [] : [definition])));
    let outdated: readonly PackageChange[] = [];
    try {
      outdated = await definitions.driver.outdated(host, programs, source);
    } catch {
      // Metadata that are not there, or too old: `status` asks the mirrors, this only tells what is known.
      context.onNotice?.('what is out of date is not known: run `templatefs status` to ask the mirrors');
    }
    const newer = new Map(outdated.map((change) => [`${change.name}:${change.architecture}`, change.to]));
    return {
      name,
      ostemplate: template.name,
      apptemplates: apps.map((app) => app.template),
      packages: packages.map((one) => ({
        ...one,
        template: base.has(one.name) ? template.name : (named.get(one.name) ?? byApp.get(one.name) ?? null),
        newer: newer.get(`${one.name}:${one.architecture}`) ?? null,
      })),
    };
  });
}
