import { TemplatefsError } from '../core/errors.js';
import type { PackageStages, TemplateDefinition } from './definition.js';
import { findDefinitions, searchPathOf } from './find-definitions.js';
import type { FoundDefinition, SearchOptions } from './find-definitions.js';
import { readDefinitionFiles } from './read-definition-files.js';
import type { DefinitionFiles } from './read-definition-files.js';
import { loadUrlMap } from './url-map.js';
import type { UrlMap } from './url-map.js';

export interface LoadOptions extends SearchOptions {
  /** Extra OS templates to put on top of OS template `name`, as `NAME-FLAVOR` names one; several are joined. */
  readonly flavors?: readonly string[];
}

function notFound(name: string, known: readonly FoundDefinition[]): TemplatefsError {
  const names = known.map((definition) => definition.name);
  return new TemplatefsError('TEMPLATE_NOT_FOUND', `no template definition named ${name}`, {
    hint: names.length === 0 ? 'no definition was found; name folders that have some in TEMPLATEFS_TEMPLATES' : `there are: ${names.join(', ')}`,
  });
}

function unique<T>(values: readonly T[]): T[] {
  const seen = new Set<string>();
  return values.filter((value) => {
    const key = JSON.stringify(value);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Inheritance as vzpkg has it: repositories add up, an empty package stage and a missing script or file are the base's. */
function inherit(base: DefinitionFiles, own: DefinitionFiles): DefinitionFiles {
  const stage = (name: keyof PackageStages): readonly string[] => (own.packages[name].length > 0 ? own.packages[name] : base.packages[name]);
  return {
    packageManager: base.packageManager,
    distribution: base.distribution,
    osRelease: base.osRelease,
    upgradableVersions: base.upgradableVersions,
    sharedPaths: own.sharedPaths ?? base.sharedPaths,
    repositories: unique([...base.repositories, ...own.repositories]),
    mirrorLists: unique([...base.mirrorLists, ...own.mirrorLists]),
    keys: unique([...base.keys, ...own.keys]),
    packages: { minimal: stage('minimal'), base: stage('base'), main: stage('main') },
    environment: own.environment ?? base.environment,
    secrets: [...base.secrets, ...own.secrets],
    scripts: { ...base.scripts, ...own.scripts },
    summary: own.summary ?? base.summary,
    description: own.description ?? base.description,
  };
}

/** Joins two extra OS templates: both add their packages; of scripts and single values the later one's count. */
function join(first: DefinitionFiles, second: DefinitionFiles): DefinitionFiles {
  const stage = (name: keyof PackageStages): readonly string[] => unique([...first.packages[name], ...second.packages[name]]);
  return {
    ...inherit(first, second),
    packages: { minimal: stage('minimal'), base: stage('base'), main: stage('main') },
    environment: first.environment === undefined && second.environment === undefined ? undefined : { ...first.environment, ...second.environment },
  };
}

/** An app template has its own packages and scripts only; where they are installed from, the OS template says too. */
async function readApp(found: FoundDefinition, os: DefinitionFiles, urls: UrlMap): Promise<DefinitionFiles> {
  const own = await readDefinitionFiles(found.folder, 'app', urls, os.packageManager);
  const app = found.appBase === undefined ? own : inherit(await readDefinitionFiles(found.appBase, 'app', urls, os.packageManager), own);
  const merged = inherit(os, app);
  return { ...merged, packages: app.packages, scripts: app.scripts, summary: app.summary, description: app.description };
}

/**
 * Reads a template definition with what it inherits.
 *
 * @param name `debian-12-x86_64`, an extra OS template `debian-12-x86_64-FLAVOR`, or an app template
 *   `debian-12-x86_64-APP` or `APP-debian-12-x86_64`
 * @throws TEMPLATE_NOT_FOUND with the names of those that there are; BAD_DEFINITION naming file and line
 */
export async function loadDefinition(name: string, options: LoadOptions = {}): Promise<TemplateDefinition> {
  const known = await findDefinitions(options);
  const find = (wanted: string): FoundDefinition => {
    const found = known.find((definition) => definition.name === wanted) ?? known.find((definition) => definition.alias === wanted);
    if (found === undefined) throw notFound(wanted, known);
    return found;
  };
  const found = find(name);
  const flavors = options.flavors ?? [];
  if (flavors.length > 0 && found.kind !== 'os') {
    throw new TemplatefsError('USAGE', `${name} is no OS template, so it takes no flavor`, { hint: `use the OS template: ${found.os.name}` });
  }
  const urls = await loadUrlMap(searchPathOf(options));
  const os = await readDefinitionFiles(found.os.folder, 'os', urls);

  let files: DefinitionFiles;
  let kind = found.kind;
  let folder = found.folder;
  if (found.kind === 'app') {
    files = await readApp(found, os, urls);
  } else {
    const extras = found.kind === 'extra-os' ? [found] : flavors.map((flavor) => find(`${name}-${flavor}`));
    let extra: DefinitionFiles | undefined;
    for (const { folder: extraFolder, kind: extraKind, name: extraName } of extras) {
      if (extraKind !== 'extra-os') throw new TemplatefsError('USAGE', `${extraName} is an app template, not a flavor of ${name}`);
      const read = await readDefinitionFiles(extraFolder, 'extra-os', urls, os.packageManager);
      extra = extra === undefined ? read : join(extra, read);
      folder = extraFolder;
    }
    files = extra === undefined ? os : inherit(os, extra);
    if (extra !== undefined) kind = 'extra-os';
  }
  const fullName = [found.name, ...flavors].join('-');
  if (files.packageManager === undefined || files.distribution === undefined) throw new Error('an OS template was read without its required files');
  return {
    name: fullName,
    kind,
    base: kind === 'os' ? undefined : found.os.name,
    folder,
    distribution: files.distribution,
    release: found.os.release,
    architecture: found.os.architecture,
    packageManager: files.packageManager,
    repositories: files.repositories,
    mirrorLists: files.mirrorLists,
    keys: files.keys,
    packages: files.packages,
    environment: files.environment ?? {},
    scripts: files.scripts,
    secrets: files.secrets,
    summary: files.summary ?? fullName,
    description: files.description ?? '',
    osRelease: files.osRelease,
    upgradableVersions: files.upgradableVersions,
    sharedPaths: files.sharedPaths,
  };
}
