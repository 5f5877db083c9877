import { bootstrapTemplate } from '../templates/bootstrap-template.js';
import type { TemplateDefinition } from '../templates/definition.js';
import { loadDefinition } from '../templates/load-definition.js';
import { loadRecordedDefinition, type RecordedDefinition } from '../templates/load-recorded-definition.js';
import { TemplatefsError } from '../core/errors.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { importTar, type ImportOptions } from '../store/import-tar.js';
import { addTemplate, type AddedTemplate, type ImportedTree } from './add-template.js';
import type { ServiceContext } from './context.js';
import { importOptions } from './import-options.js';
import { openPackageHost } from './package-host.js';

export interface CreateTemplateOptions {
  /** Name of a definition. */
  readonly name: string;
  readonly flavors: readonly string[];
  /** Makes a new version of a template that is there. */
  readonly refresh?: boolean;
  /** In place of those of the definition. */
  readonly shared?: SharedPaths;
}

/**
 * Makes an OS template from its definition: the real bootstrap tool makes a root, its tar goes straight into the store.
 *
 * @throws TEMPLATE_NOT_FOUND, BAD_DEFINITION, TEMPLATE_EXISTS, NO_MIRROR, PACKAGE_MANAGER_FAILED, BUSY, NO_SPACE,
 *   INTERRUPTED
 */
export async function createTemplate(context: ServiceContext, options: CreateTemplateOptions): Promise<AddedTemplate> {
  const definition = await loadDefinition(options.name, { flavors: options.flavors });
  if (definition.kind === 'app') {
    throw new TemplatefsError('USAGE', `${definition.name} is an app template: it is installed into containers, it is no root`, {
      hint: `create its OS template instead${definition.base === undefined ? '' : `: templatefs template create ${definition.base}`}`,
    });
  }
  const shared = options.shared ?? definition.sharedPaths;
  return addTemplate(context, {
    name: definition.name,
    refresh: options.refresh ?? false,
    source: `definition ${definition.name}`,
    definition: JSON.stringify({
      name: definition.name,
      flavors: options.flavors,
      packageManager: definition.packageManager,
      packages: definition.packages,
      repositories: definition.repositories,
      summary: definition.summary,
      description: definition.description,
      osRelease: definition.osRelease ?? null,
      upgradableVersions: definition.upgradableVersions,
    }),
    ...(shared !== undefined && { shared }),
    importTree: () => bootstrap(context, definition),
  });
}

/** Runs a definition again, as it was recorded with a template. @throws as {@link createTemplate} */
export async function importFromDefinition(context: ServiceContext, recorded: string, options: ImportOptions): Promise<ImportedTree> {
  const { name, flavors } = JSON.parse(recorded) as Pick<RecordedDefinition, 'name'> & Partial<RecordedDefinition>;
  return bootstrap(context, await loadRecordedDefinition({ name, flavors: flavors ?? [] }), options);
}

/** Imports while the tool still writes; the tool may fail after its last byte. */
async function bootstrap(context: ServiceContext, definition: TemplateDefinition, options: ImportOptions = {}): Promise<ImportedTree> {
  const { paths, signal, onLog } = context;
  const { host, close } = openPackageHost(context, true);
  const { stream, finished } = bootstrapTemplate(definition, {
    packageHost: host,
    ...(onLog !== undefined && { onLog }),
    ...(signal !== undefined && { signal }),
  });
  const [tree, tool] = await Promise.allSettled([importTar(paths, stream, { ...importOptions(context), ...options }), finished]);
  await close();
  // A tool that fails ends the stream with its error, and the import stumbles over that. An import that fails closes
  // the stream, and the tool is killed for it. The first of the two is what the user has to know.
  if (stream.errored !== null) throw stream.errored;
  if (tree.status === 'rejected') throw asError(tree.reason);
  if (tool.status === 'rejected') throw asError(tool.reason);
  return tree.value;
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
