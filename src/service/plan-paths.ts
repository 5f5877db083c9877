import { TemplatefsError } from '../core/errors.js';
import type { PackageContents } from '../packages/package-contents.js';
import type { ContainerPrograms, PackageHost, PackageManagerDriver, PackagePlan, PackageRequest } from '../packages/package-manager.js';
import { isFolder } from '../store/inode-types.js';
import { printableName, rawFromText, type RawName } from '../store/raw-names.js';
import type { AreaView } from './area-view.js';
import type { ServiceContext } from './context.js';
import { openSettledView } from './diff-container.js';
import { fetchPackages } from './fetch-packages.js';
import { modeOf, nameOf } from './root-view.js';

/*
 * Which paths an install, update or removal would change, as the packages themselves say: their lists of files, against what the container
 * has now. Nothing is run but the container's package manager, which reads the packages in the sandbox.
 */

/** A path that a package brings, replaces or takes away. Letters are those of `diff`. */
export interface PlannedPath {
  readonly path: string;
  readonly letter: 'A' | 'C' | 'D';
  readonly package: string;
  /** The package manager keeps what was changed: docs/installer.md. */
  readonly configuration: boolean;
}

export interface PlannedPaths {
  /** Sorted by path; null when a package could not be fetched. */
  readonly paths: readonly PlannedPath[] | null;
  /** Packages with scripts, which may change any path of the container. */
  readonly scripts: readonly string[];
}

export interface PlanPathsOptions {
  readonly container: string;
  readonly driver: PackageManagerDriver;
  readonly host: PackageHost;
  readonly programs: ContainerPrograms;
  readonly request: PackageRequest;
  readonly plan: PackagePlan;
}

function parentOf(path: RawName): RawName {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

/** Where a path of a package's list lies in the root: `/bin/sh` in `/usr/bin`, where /bin is a link. */
function placeOf(view: AreaView, path: RawName): RawName {
  const parent = parentOf(path);
  if (parent === '/') return path;
  const folder = view.resolve(parent, true);
  const real = folder?.path ?? placeOf(view, parent);
  return real === '/' ? `/${nameOf(path)}` : `${real}/${nameOf(path)}`;
}

/** What lists of files mean for a container's root. */
export function pathsOf(contents: readonly PackageContents[], view: AreaView): PlannedPath[] {
  const found = new Map<RawName, PlannedPath>();
  const coming = new Set<RawName>();
  const say = (place: RawName, letter: PlannedPath['letter'], from: PackageContents, configuration: boolean): void => {
    found.set(place, { path: printableName(place), letter, package: from.name, configuration });
  };
  /** Folders that nobody lists are made all the same. */
  const makeFolder = (place: RawName, from: PackageContents): void => {
    if (place === '/' || found.has(place) || view.resolve(place, true) !== undefined) return;
    makeFolder(parentOf(place), from);
    say(place, 'A', from, false);
  };
  for (const one of contents.filter(({ isComing }) => isComing)) {
    for (const path of one.paths) {
      const raw = rawFromText(path.replace(/\/$/, ''));
      const place = placeOf(view, raw);
      coming.add(place);
      if (path.endsWith('/')) {
        makeFolder(place, one);
        continue;
      }
      makeFolder(parentOf(place), one);
      const there = view.root.at(place);
      say(place, there === undefined ? 'A' : 'C', one, one.configuration.has(path));
    }
  }
  for (const one of contents.filter(({ isComing }) => !isComing)) {
    for (const path of one.paths) {
      const place = placeOf(view, rawFromText(path.replace(/\/$/, '')));
      const there = coming.has(place) ? undefined : view.root.at(place);
      if (there !== undefined && !isFolder(modeOf(there))) say(place, 'D', one, one.configuration.has(path));
    }
  }
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** @throws as `install`, but for NO_MIRROR: without the packages nobody knows their paths, and the plan by names still counts */
export async function planPaths(context: ServiceContext, { container, driver, host, programs, request, plan }: PlanPathsOptions): Promise<PlannedPaths> {
  const local = request.kind === 'install' ? request.files : [];
  let files: string[];
  try {
    files = [...(await fetchPackages(host, plan.downloads)).map(({ path }) => path), ...local];
  } catch (error) {
    if (!(error instanceof TemplatefsError) || error.code !== 'NO_MIRROR') throw error;
    context.onNotice?.(`paths are not known without the packages: ${error.message}`);
    return { paths: null, scripts: [] };
  }
  const contents = await driver.contents(host, { programs, files, changes: plan.changes });
  using view = await openSettledView(context, container);
  return { paths: pathsOf(contents, view), scripts: [...new Set(contents.filter(({ hasScripts }) => hasScripts).map(({ name }) => name))].sort() };
}
