import { TemplatefsError } from '../core/errors.js';
import { changePackages } from './change-packages.js';
import { openForReading, type ServiceContext } from './context.js';
import { appTemplateName } from './create-app-template.js';
import { createContainer, createUnfinished, type CreateContainerOptions, type CreatedContainer } from './create-container.js';
import { destroyContainer } from './destroy-container.js';
import { findTemplate } from './find-record.js';
import { withPackageSession } from './package-session.js';
import { templateApps, type TemplateApps } from './template-apps.js';
import { endUnfinished } from './unfinished-container.js';

/** A template that has just these apps on the OS template as it is now, if there is one. */
function prepared(context: ServiceContext, template: string, apps: readonly string[]): string | undefined {
  using opened = openForReading(context);
  const name = appTemplateName(template, apps);
  const found = opened.catalog.template(name);
  if (found === undefined || apps.length === 0) return undefined;
  const { base, baseTree, apps: has } = templateApps(found);
  const isCurrent = base === template && baseTree === findTemplate(opened.catalog, template).tree;
  return isCurrent && has.length === apps.length ? name : undefined;
}

function appsOfTemplate(context: ServiceContext, template: string): TemplateApps {
  using opened = openForReading(context);
  return templateApps(findTemplate(opened.catalog, template));
}

/** Makes what the template was made without: keys that containers must not share. */
async function remakeSecrets(context: ServiceContext, container: string, commands: readonly string[]): Promise<void> {
  await withPackageSession(context, container, async ({ programs }) => {
    for (const command of commands) {
      const answer = await programs.run({ script: command });
      if (answer.status !== 0) throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `${command} failed in ${container}: ${answer.errors}`, { hint: 'make the template anew: templatefs template create NAME --apptemplate … --refresh' });
    }
  });
}

/**
 * Makes a container with app templates: from a template that has them, if there is one (`template create --apptemplate`), else by
 * installing them. When that fails, or is cut short, there is no container.
 *
 * @throws as `create` and `install`
 */
export async function createWithApps(context: ServiceContext, options: CreateContainerOptions, apps: readonly string[]): Promise<CreatedContainer> {
  const ready = prepared(context, options.template, apps);
  const template = ready ?? options.template;
  const { remake } = appsOfTemplate(context, template);
  const more = remake.length > 0 || (apps.length > 0 && ready === undefined);
  if (!more) return await createContainer(context, { ...options, template });
  const { container: created, journal } = await createUnfinished(context, { ...options, template });
  try {
    if (remake.length > 0) await remakeSecrets(context, options.name, remake);
    if (apps.length > 0 && ready === undefined) await changePackages(context, { container: options.name, operation: 'install', templates: apps });
  } catch (error) {
    await destroyContainer({ paths: context.paths, waitMs: 30_000 }, { name: options.name, force: true });
    await endUnfinished(context, journal);
    throw error;
  }
  await endUnfinished(context, journal);
  return created;
}
