import { existsSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { readContainerFile } from '../catalog/container-file.js';
import type { JournalEntry } from '../catalog/records.js';
import { openForWriting, type ServiceContext } from './context.js';
import { journaled, moveFolder, trashArea } from './journal.js';
import { umountLocked } from './umount-container.js';

/*
 * A container that takes more steps than its making: one with apps, or one that a command makes for itself. Until the last of them a journal
 * entry `make-container` says so, and whoever finds it of a process that is gone destroys the container. The entry has the time of creation, by which
 * the container is known: another one may have its name since.
 */

/** To be called while the container's lock is held, when it is sure that there is none. @returns for {@link endUnfinished} */
export function beginUnfinished(catalog: Catalog, name: string, created: string): number {
  return catalog.beginJournal('make-container', name, created);
}

/** It is whole, or gone. */
export async function endUnfinished({ paths }: ServiceContext, journal: number): Promise<void> {
  using opened = await openForWriting({ paths });
  opened.catalog.endJournal(journal);
}

/** After a failure of whoever has begun it: nothing is left of the container. The caller holds its lock. */
export async function giveUpUnfinished(context: ServiceContext, catalog: Catalog, entry: Pick<JournalEntry, 'id' | 'subject' | 'started'>): Promise<void> {
  await destroyUnfinished(context, catalog, entry);
  catalog.endJournal(entry.id);
}

/** The caller holds the container's lock. */
export async function destroyUnfinished(context: ServiceContext, catalog: Catalog, { subject: name, started }: Pick<JournalEntry, 'subject'> & Partial<JournalEntry>): Promise<void> {
  const { paths } = context;
  if (!existsSync(paths.privateArea(name)) || readContainerFile(paths.containerFile(name))?.created !== started) return;
  await umountLocked(context, name, true);
  await journaled(paths, catalog, 'destroy-container', name, (entry) => {
    moveFolder(paths.privateArea(name), trashArea(paths, entry), paths.privateAreas);
  });
}
