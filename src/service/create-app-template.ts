import { appsOf } from '../catalog/apps-of-container.js';
import { readContainerFile } from '../catalog/container-file.js';
import type { TemplateRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { importFolder } from '../store/import-folder.js';
import { addTemplate, type AddedTemplate, type ImportedTree } from './add-template.js';
import { changePackages } from './change-packages.js';
import { openForReading, type ServiceContext } from './context.js';
import { findTemplate } from './find-record.js';
import { importOptions } from './import-options.js';
import { settleSecrets } from './settle-secrets.js';
import type { TemplateApps } from './template-apps.js';
import { withTemporaryContainer } from './temporary-container.js';
import { enterContainer, leaveContainer } from './use-container.js';

export interface CreateAppTemplateOptions {
  /** An OS template of the store. */
  readonly template: string;
  readonly apps: readonly string[];
  /** Of the new template; undefined: TEMPLATE-APP-APP. */
  readonly name?: string;
  readonly refresh?: boolean;
  /** Also brings what the OS template has up to date. */
  readonly updatePackages?: boolean;
}

/** The name of the template that has these apps. */
export function appTemplateName(template: string, apps: readonly string[]): string {
  return [template, ...apps.map((app) => (app.startsWith(`${template}-`) ? app.slice(template.length + 1) : app.endsWith(`-${template}`) ? app.slice(0, -template.length - 1) : app))].join('-');
}

function find(context: ServiceContext, name: string): TemplateRecord {
  using opened = openForReading(context);
  return findTemplate(opened.catalog, name);
}

function checkFree(context: ServiceContext, name: string, refresh: boolean): void {
  using opened = openForReading(context);
  if (refresh || opened.catalog.template(name) === undefined) return;
  throw new TemplatefsError('TEMPLATE_EXISTS', `there is a template ${name} already`, { hint: 'make a new version of it with --refresh' });
}

async function importRoot(context: ServiceContext, container: string): Promise<ImportedTree> {
  const { root, use } = await enterContainer(context, container);
  try {
    return await importFolder(context.paths, root, importOptions(context));
  } finally {
    use.release();
    await leaveContainer(context, container);
  }
}

/**
 * Makes a template of an OS template with app templates installed: containers from it start with them, at no cost. It has no secrets:
 * those that can be made anew are, when a container is created.
 *
 * @throws TEMPLATE_NOT_FOUND, TEMPLATE_EXISTS and as `install`
 */
export async function createAppTemplate(context: ServiceContext, options: CreateAppTemplateOptions): Promise<AddedTemplate> {
  const base = find(context, options.template);
  const name = options.name ?? appTemplateName(options.template, options.apps);
  const refresh = options.refresh === true;
  checkFree(context, name, refresh);
  return withTemporaryContainer(context, options.template, async (container) => {
    if (options.updatePackages === true) await changePackages(context, { container, operation: 'update', refresh: true });
    await changePackages(context, { container, operation: 'install', templates: options.apps });
    const remake = await settleSecrets(context, container, name);
    const file = readContainerFile(context.paths.containerFile(container));
    const added: TemplateApps = { base: base.name, baseTree: base.tree, apps: file === undefined ? [] : appsOf(file), remake };
    const recorded = base.definition === null ? { name: base.name } : (JSON.parse(base.definition) as Record<string, unknown>);
    return addTemplate(context, {
      name,
      refresh,
      source: `template ${base.name} with ${options.apps.join(', ')}`,
      definition: JSON.stringify({ ...recorded, ...added }),
      importTree: () => importRoot(context, container),
    });
  });
}
