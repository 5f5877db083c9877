import { TemplatefsError } from '../core/errors.js';
import { compareVersions, isVersion } from '../packages/compare-versions.js';
import { DatabaseUnreadable, type VersionRules } from '../packages/database/package-database.js';
import type { InstalledPackage } from '../packages/package-manager.js';
import { packageDatabaseOf } from './area-packages.js';
import { AreaView } from './area-view.js';
import { openForReading, type ServiceContext } from './context.js';
import { containerPackages } from './container-packages.js';

const RELATIONS = ['<', '<=', '=', '!=', '>=', '>'] as const;
export type VersionRelation = (typeof RELATIONS)[number];

/** What is asked for: a package, and which versions of it. */
export interface PackageQuery {
  readonly name: string;
  /** null: any version. */
  readonly version: { readonly relation: VersionRelation; readonly other: string } | null;
}

export interface FoundPackage extends InstalledPackage {
  readonly container: string;
  readonly ostemplate: string;
  /** Whose rules the version was compared by. */
  readonly rules: VersionRules;
}

export interface FoundPackages {
  readonly package: string;
  readonly relation: VersionRelation | null;
  readonly version: string | null;
  /** Containers whose packages are known. */
  readonly asked: number;
  readonly found: readonly FoundPackage[];
  /** Containers that have no database of packages, or one that cannot be read. */
  readonly unknown: readonly { readonly container: string; readonly reason: string }[];
}

const HOLDS: Readonly<Record<VersionRelation, (compared: number) => boolean>> = {
  '<': (compared) => compared < 0,
  '<=': (compared) => compared <= 0,
  '=': (compared) => compared === 0,
  '!=': (compared) => compared !== 0,
  '>=': (compared) => compared >= 0,
  '>': (compared) => compared > 0,
};

/** Reads `openssl`, `openssl<3.0.11`, `openssl >= 3.0`; also dpkg's `<<` and `>>`, and `==`. @throws USAGE */
export function parsePackageQuery(text: string): PackageQuery {
  const [, name, written, other] = /^\s*([A-Za-z0-9][A-Za-z0-9+._-]*)\s*(?:(<<|<=|<|==|=|!=|>=|>>|>)\s*(\S+)\s*)?$/.exec(text) ?? [];
  const relation = RELATIONS.find((one) => one === (written === '==' ? '=' : written?.replace(/^([<>])\1$/, '$1')));
  if (name === undefined || (other !== undefined && (relation === undefined || !isVersion(other)))) {
    throw new TemplatefsError('USAGE', `not a package with a version: ${JSON.stringify(text)}`, { hint: "write NAME, or NAME, a relation and a version in quotes: 'openssl<3.0.11'; relations are < <= = != >= >" });
  }
  return { name, version: relation === undefined || other === undefined ? null : { relation, other } };
}

/** Packages of a container, by its files; by its own package manager where those cannot be read as they are. */
async function packagesOf(context: ServiceContext, container: { readonly name: string; readonly tree: string }): Promise<{ rules: VersionRules; packages: readonly InstalledPackage[] } | string> {
  try {
    using view = await AreaView.open(context, container);
    return packageDatabaseOf(view) ?? 'it has no database of packages that is known (dpkg, rpm)';
  } catch (error) {
    if (!(error instanceof DatabaseUnreadable)) throw error;
    context.onNotice?.(`${container.name}: the database of its packages cannot be read from outside (${error.message}); its package manager is asked`);
    return { rules: 'rpm', packages: (await containerPackages(context, container.name)).packages };
  }
}

/**
 * Which containers have a package, in some versions. Reads their databases of packages without mounting them; versions are compared by
 * dpkg or rpm of this host.
 *
 * @throws USAGE, FAILED when dpkg or rpm is needed and not installed, BAD_CATALOG, INTERRUPTED
 */
export async function queryPackages(context: ServiceContext, query: PackageQuery): Promise<FoundPackages> {
  const containers = (() => {
    using opened = openForReading(context);
    return opened.catalog.containers();
  })();
  const candidates: FoundPackage[] = [];
  const unknown: { container: string; reason: string }[] = [];
  for (const [done, container] of containers.entries()) {
    context.signal?.throwIfAborted();
    context.onProgress?.({ step: 'reading databases of packages', done, total: containers.length, unit: 'items' });
    try {
      const known = await packagesOf(context, container);
      if (typeof known === 'string') unknown.push({ container: container.name, reason: known });
      else {
        const { rules } = known;
        for (const { name, version, architecture } of known.packages) {
          if (name === query.name) candidates.push({ container: container.name, ostemplate: container.template, name, version, architecture, rules });
        }
      }
    } catch (error) {
      if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED') throw error;
      unknown.push({ container: container.name, reason: error.message });
    }
  }
  return {
    package: query.name,
    relation: query.version?.relation ?? null,
    version: query.version?.other ?? null,
    asked: containers.length - unknown.length,
    found: await withVersion(candidates, query, context.signal),
    unknown,
  };
}

async function withVersion(candidates: readonly FoundPackage[], { version }: PackageQuery, signal: AbortSignal | undefined): Promise<FoundPackage[]> {
  if (version === null) return [...candidates];
  const found: FoundPackage[] = [];
  for (const rules of ['dpkg', 'rpm'] as const) {
    const own = candidates.filter((one) => one.rules === rules);
    const compared = await compareVersions(rules, own.map((one) => one.version), version.other, signal);
    found.push(...own.filter((one) => {
      const result = compared.get(one.version);
      return result !== undefined && HOLDS[version.relation](result);
    }));
  }
  return found.sort((a, b) => (a.container < b.container ? -1 : a.container > b.container ? 1 : 0));
}
