import { TemplatefsError } from './errors.js';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,127}$/;

function checkName(name: string, what: string): string {
  if (!NAME.test(name)) {
    throw new TemplatefsError('USAGE', `not a valid ${what} name: ${JSON.stringify(name)}`, {
      hint: 'use letters, digits and _ . + - (at most 128, the first a letter or digit)',
    });
  }
  return name;
}

/** Returns `name` if it can name a container (and so a folder of the store). @throws USAGE */
export function checkContainerName(name: string): string {
  return checkName(name, 'container');
}

/** Returns `id` if it can name a snapshot. @throws USAGE */
export function checkSnapshotId(id: string): string {
  return checkName(id, 'snapshot');
}

/** Returns `name` if it can name a template. @throws USAGE */
export function checkTemplateName(name: string): string {
  return checkName(name, 'template');
}
