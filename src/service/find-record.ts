import type { Catalog } from '../catalog/catalog.js';
import type { HeldLock, LockMode } from '../catalog/lock.js';
import type { ContainerRecord, TemplateRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { lock, type ServiceContext } from './context.js';
import { recoverJournal } from './journal.js';

/** @throws CONTAINER_NOT_FOUND */
export function findContainer(catalog: Catalog, name: string): ContainerRecord {
  const container = catalog.container(name);
  if (container !== undefined) return container;
  throw new TemplatefsError('CONTAINER_NOT_FOUND', `there is no container ${JSON.stringify(name)}`, {
    hint: 'see which there are with `templatefs list`',
  });
}

/** @throws TEMPLATE_NOT_FOUND */
export function findTemplate(catalog: Catalog, name: string): TemplateRecord {
  const template = catalog.template(name);
  if (template !== undefined) return template;
  throw new TemplatefsError('TEMPLATE_NOT_FOUND', `there is no template ${JSON.stringify(name)}`, {
    hint: 'see which there are with `templatefs template list`; make one with `templatefs template create` or `template import`',
  });
}

/**
 * Takes the lock of one container or template, then settles what a holder that was killed meanwhile left of it. The
 * name must be one that was found in the catalog or checked.
 *
 * @throws BUSY, INTERRUPTED
 */
export async function lockSubject(
  context: ServiceContext,
  catalog: Catalog,
  kind: 'container' | 'template',
  name: string,
  mode: LockMode = 'exclusive',
): Promise<HeldLock> {
  const held = await lock(context, { name: `${kind}-${name}`, what: `${kind} ${name}`, mode });
  try {
    await recoverJournal(context.paths, catalog, { kind, name });
    return held;
  } catch (error) {
    held.release();
    throw error;
  }
}
