import type { AddedTemplate } from './add-template.js';
import { openForReading, type ServiceContext } from './context.js';
import { createAppTemplate } from './create-app-template.js';
import { createTemplate } from './create-template.js';

export interface CreateWithAppTemplatesOptions {
  /** Name of a definition. */
  readonly name: string;
  readonly flavors: readonly string[];
  readonly apps: readonly string[];
  readonly as?: string;
  readonly refresh: boolean;
}

/** `template create NAME --apptemplate A,B`: makes the OS template first, if there is none. @throws as both */
export async function createWithAppTemplates(context: ServiceContext, options: CreateWithAppTemplatesOptions): Promise<AddedTemplate> {
  const template = [options.name, ...options.flavors].join('-');
  const isThere = (() => {
    using opened = openForReading(context);
    return opened.catalog.template(template) !== undefined;
  })();
  if (!isThere) await createTemplate(context, { name: options.name, flavors: options.flavors });
  return createAppTemplate(context, { template, apps: options.apps, refresh: options.refresh, ...(options.as !== undefined && { name: options.as }) });
}
