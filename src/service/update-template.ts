import { isDeepStrictEqual } from 'node:util';
import type { TemplateRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import type { PackageChange } from '../packages/package-manager.js';
import type { TemplateDefinition } from '../templates/definition.js';
import { definitionName, loadRecordedDefinition } from '../templates/load-recorded-definition.js';
import type { AddedTemplate } from './add-template.js';
import { openForReading, type ServiceContext } from './context.js';
import { createAppTemplate } from './create-app-template.js';
import { createTemplate } from './create-template.js';
import { findTemplate } from './find-record.js';
import { packageStatus } from './package-status.js';
import { recordedDefinition } from './package-source.js';
import { templateApps } from './template-apps.js';
import { withTemporaryContainer } from './temporary-container.js';

export interface UpdateTemplateOptions {
  readonly name: string;
  readonly dryRun?: boolean;
}

/** What `template update` answers. */
export interface UpdatedTemplate extends AddedTemplate {
  /** false: nothing is newer, or it was only asked. The rest then says what is there. */
  readonly updated: boolean;
  /** Packages that the repositories have newer ones of. */
  readonly outdated: readonly PackageChange[];
  /** The definition names other packages or repositories than the template was made of. */
  readonly definitionChanged: boolean;
  readonly dryRun: boolean;
}

function recordOf(context: ServiceContext, name: string): TemplateRecord {
  using opened = openForReading(context);
  return findTemplate(opened.catalog, name);
}

/** Whether what says how a template is made has changed since it was made. */
async function hasChanged(context: ServiceContext, record: TemplateRecord): Promise<boolean> {
  const made = JSON.parse(record.definition ?? '{}') as Partial<TemplateDefinition>;
  const now = await loadRecordedDefinition(recordedDefinition(record), { store: context.paths.store });
  return !isDeepStrictEqual(JSON.parse(JSON.stringify([now.packages, now.repositories])), [made.packages, made.repositories]);
}

/**
 * Makes a new version of a template that was made from a definition, if its repositories have newer packages or the definition has changed.
 * Containers keep the tree that they have.
 *
 * @throws TEMPLATE_NOT_FOUND, USAGE for an import, and as `template create`
 */
export async function updateTemplate(context: ServiceContext, { name, dryRun = false }: UpdateTemplateOptions): Promise<UpdatedTemplate> {
  const record = recordOf(context, name);
  if (record.definition === null) {
    throw new TemplatefsError('USAGE', `template ${name} was made from no definition (${record.source})`, { hint: `import it again: templatefs template import ${name} SOURCE --refresh` });
  }
  const { base, apps } = templateApps(record);
  const { outdated } = await withTemporaryContainer(context, name, (container) => packageStatus(context, { name: container, maxAgeMs: 0 }));
  const definitionChanged = base === null ? await hasChanged(context, record) : false;
  const about = { outdated, definitionChanged, dryRun };
  if (dryRun || (outdated.length === 0 && !definitionChanged)) {
    const { version, tree, files, bytes, created } = record;
    return { name, version, tree, files, bytes, created, newObjects: 0, newBytes: 0, sharedObjects: 0, updated: false, ...about };
  }
  if (base !== null) {
    const added = await createAppTemplate(context, { template: base, apps: apps.map(({ template }) => template), name, refresh: true, updatePackages: true });
    return { ...added, updated: true, ...about };
  }
  const recorded = recordedDefinition(record);
  const added = await createTemplate(context, { name: definitionName(recorded), flavors: recorded.flavors, refresh: true });
  return { ...added, updated: true, ...about };
}
