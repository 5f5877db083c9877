import { removeFileDurably } from '../store/write-file-durably.js';
import { HeldLocks } from '../catalog/lock.js';
import type { Catalog } from '../catalog/catalog.js';
import { TemplatefsError } from '../core/errors.js';
import { openForWriting, type ServiceContext } from './context.js';
import { findTemplate, lockSubject } from './find-record.js';
import { journaled } from './journal.js';

export interface RemoveTemplateOptions {
  readonly name: string;
  /** Checks everything and changes nothing. */
  readonly dryRun?: boolean;
}

export interface RemovedTemplate {
  readonly name: string;
  readonly removed: boolean;
}

function refuseInUse(catalog: Catalog, name: string): void {
  const users = catalog.containersOf(name);
  if (users.length === 0) return;
  const shown = users.slice(0, 5).join(', ') + (users.length > 5 ? ` and ${users.length - 5} more` : '');
  throw new TemplatefsError('TEMPLATE_IN_USE', `template ${name} is used by ${users.length === 1 ? 'container' : 'containers'} ${shown}`, {
    hint: 'destroy them first: templatefs destroy CT',
  });
}

/**
 * Removes a template that no container uses. Its tree and objects stay in the store until garbage is collected, as
 * other templates may share them.
 *
 * @throws TEMPLATE_NOT_FOUND, TEMPLATE_IN_USE, BUSY, STORE_NOT_WRITABLE
 */
export async function removeTemplate(context: ServiceContext, options: RemoveTemplateOptions): Promise<RemovedTemplate> {
  const { name, dryRun = false } = options;
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findTemplate(catalog, name);
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'template', name));
  findTemplate(catalog, name);
  refuseInUse(catalog, name);
  if (dryRun) return { name, removed: false };
  await journaled(context.paths, catalog, 'remove-template', name, () => {
    removeFileDurably(context.paths.templateRecord(name));
  });
  return { name, removed: true };
}
