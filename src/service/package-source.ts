import { appsOf, type InstalledApp } from '../catalog/apps-of-container.js';
import { readContainerFile } from '../catalog/container-file.js';
import type { TemplateRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { driverFor } from '../packages/drivers.js';
import type { PackageManagerDriver, PackageSource } from '../packages/package-manager.js';
import type { TemplateDefinition } from '../templates/definition.js';
import { loadDefinition } from '../templates/load-definition.js';
import { loadRecordedDefinition, type RecordedDefinition } from '../templates/load-recorded-definition.js';
import type { ServiceContext } from './context.js';

/** What definitions say of a container: where its packages come from, and who installs them. */
export interface ContainerDefinitions {
  readonly os: TemplateDefinition;
  /** App templates that are installed, with their definitions; undefined where there is none any more. */
  readonly installed: readonly { readonly app: InstalledApp; readonly definition: TemplateDefinition | undefined }[];
  readonly driver: PackageManagerDriver;
}

/** Name and flavors of the definition that a template was made from. */
export function recordedDefinition(template: TemplateRecord): RecordedDefinition {
  if (template.definition === null) return { name: template.name, flavors: [] };
  const { name, flavors } = JSON.parse(template.definition) as { readonly name: string; readonly flavors?: readonly string[] };
  return { name, flavors: flavors ?? [] };
}

/** The OS definition that a template stands on. A joined name of flavors is that of the base with them. */
export async function osDefinitionOf(context: ServiceContext, template: TemplateRecord): Promise<TemplateDefinition> {
  const recorded = recordedDefinition(template);
  try {
    return await loadRecordedDefinition(recorded, { store: context.paths.store });
  } catch (error) {
    if (!(error instanceof TemplatefsError) || error.code !== 'TEMPLATE_NOT_FOUND') throw error;
    throw new TemplatefsError('TEMPLATE_NOT_FOUND', `there is no definition for template ${template.name}, so it is not known where its packages come from`, {
      hint: `write one (docs/templates.md) named ${recorded.name}, in a folder that TEMPLATEFS_TEMPLATES names`,
      cause: error,
    });
  }
}

/** `php`, `debian-12-x86_64-php` or `php-debian-12-x86_64`. @throws TEMPLATE_NOT_FOUND, USAGE */
export async function appDefinition(context: ServiceContext, os: TemplateDefinition, name: string): Promise<TemplateDefinition> {
  const base = os.base ?? os.name;
  const full = name.startsWith(`${base}-`) || name.endsWith(`-${base}`) ? name : `${base}-${name}`;
  const found = await loadDefinition(full, { store: context.paths.store });
  if (found.kind === 'app' && found.base === base) return found;
  throw new TemplatefsError('USAGE', `${name} is no app template for ${base}`, { hint: 'app templates are the folders app/NAME of a definition: docs/templates.md' });
}

export async function containerDefinitions(context: ServiceContext, container: string, template: TemplateRecord): Promise<ContainerDefinitions> {
  const os = await osDefinitionOf(context, template);
  const file = readContainerFile(context.paths.containerFile(container));
  const installed = await Promise.all(
    (file === undefined ? [] : appsOf(file)).map(async (app) => {
      try {
        return { app, definition: await loadDefinition(app.template, { store: context.paths.store }) };
      } catch (error) {
        if (error instanceof TemplatefsError && error.code === 'TEMPLATE_NOT_FOUND') return { app, definition: undefined };
        throw error;
      }
    }),
  );
  return { os, installed, driver: driverFor(os.packageManager) };
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}

/** The repositories and keys of several definitions together. @throws FAILED when there are no keys */
export function packageSource(os: TemplateDefinition, more: readonly TemplateDefinition[]): PackageSource {
  const all = [os, ...more];
  const keys = unique(all.flatMap((definition) => definition.keys));
  if (keys.length === 0) {
    throw new TemplatefsError('FAILED', `the definition ${os.name} names no keys, so packages from its repositories cannot be checked`, {
      hint: `add a file keys with the paths of keyrings: ${os.folder}/keys`,
    });
  }
  return {
    template: os.name,
    repositories: unique(all.flatMap((definition) => definition.repositories)),
    mirrorLists: unique(all.flatMap((definition) => definition.mirrorLists)),
    keys,
    architecture: os.architecture,
    release: os.release,
  };
}
