import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { withApps } from '../catalog/apps-of-container.js';
import type { Catalog } from '../catalog/catalog.js';
import { formatContainerFile } from '../catalog/container-file.js';
import { HeldLocks } from '../catalog/lock.js';
import type { TemplateRecord } from '../catalog/records.js';
import { makeFolder, syncFolder, writeNewFile } from '../store/write-file-durably.js';
import { TemplatefsError } from '../core/errors.js';
import type { IdMaps } from '../core/id-map.js';
import { checkContainerName } from '../core/names.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { makeAreaFolder } from '../engine/area-folder.js';
import { TreeReader } from '../store/tree-reader.js';
import { openForWriting, type ServiceContext } from './context.js';
import { checkLimit } from './container-quota.js';
import { findTemplate, lockSubject } from './find-record.js';
import { draftArea, journaled, moveFolder } from './journal.js';
import { templateApps } from './template-apps.js';
import { beginUnfinished, giveUpUnfinished } from './unfinished-container.js';

export interface CreateContainerOptions {
  readonly name: string;
  /** The OS template that it stands on. */
  readonly template: string;
  /** docs/quotas.md says who enforces them. */
  readonly quotaSizeBytes?: number;
  readonly quotaInodes?: number;
  /** How its ids are shown on the host; null or undefined: as they are. */
  readonly ids?: IdMaps | null;
  /** undefined: what its template says. */
  readonly shared?: SharedPaths;
  /**
   * Begun as soon as it is in its place, while its lock is held and the catalog still follows. What it throws is passed on, and the
   * container stays.
   */
  readonly onPlaced?: () => Promise<void>;
}

export interface CreatedContainer {
  readonly name: string;
  readonly ostemplate: string;
  readonly tree: string;
  readonly created: string;
}

/**
 * Makes a container: a private area with nothing in it. Costs the same whatever the template's size. When this returns
 * the container is durable; when it fails nothing is left of it, unless it had its name already: `onPlaced` failed, or the disk did not
 * take the name. Then it is there, as `create` says when it is run again.
 *
 * @throws USAGE, TEMPLATE_NOT_FOUND, CONTAINER_EXISTS, BAD_TREE, BUSY, STORE_NOT_WRITABLE, NO_SPACE
 */
export async function createContainer(context: ServiceContext, options: CreateContainerOptions): Promise<CreatedContainer> {
  return (await make(context, options, false)).container;
}

export interface UnfinishedContainer {
  readonly container: CreatedContainer;
  /** For `endUnfinished`. */
  readonly journal: number;
}

/** {@link createContainer} for one that takes further steps: if this process does not come to `endUnfinished`, it is destroyed. */
export async function createUnfinished(context: ServiceContext, options: CreateContainerOptions): Promise<UnfinishedContainer> {
  const { container, journal } = await make(context, options, true);
  if (journal === undefined) throw new Error('an unfinished container has no journal entry');
  return { container, journal };
}

async function make(context: ServiceContext, options: CreateContainerOptions, unfinished: boolean): Promise<{ container: CreatedContainer; journal?: number }> {
  const { paths } = context;
  const name = checkContainerName(options.name);
  checkLimit(options.quotaSizeBytes, 'bytes');
  checkLimit(options.quotaInodes, 'inodes');
  using opened = await openForWriting(context);
  const { catalog } = opened;
  findTemplate(catalog, options.template);
  using locks = new HeldLocks();
  locks.hold(await lockSubject(context, catalog, 'template', options.template, 'shared'));
  const template = findTemplate(catalog, options.template);
  locks.hold(await lockSubject(context, catalog, 'container', name));
  if (catalog.container(name) !== undefined) {
    throw new TemplatefsError('CONTAINER_EXISTS', `there is a container ${name} already`, {
      hint: 'choose another name, or remove it with `templatefs destroy`',
    });
  }
  checkTree(paths.tree(template.tree), template.name);

  const created = new Date().toISOString();
  const container: CreatedContainer = { name, ostemplate: template.name, tree: template.tree, created };
  const journal = unfinished ? beginUnfinished(catalog, name, created) : undefined;
  try {
    await makeArea(context, catalog, options, template, created);
  } catch (error) {
    // It may have its name already. What cannot be removed now, the next command removes.
    if (journal !== undefined) await giveUpUnfinished({ paths }, catalog, { id: journal, subject: name, started: created }).catch(() => undefined);
    throw error;
  }
  return { container, ...(journal !== undefined && { journal }) };
}

async function makeArea(context: ServiceContext, catalog: Catalog, options: CreateContainerOptions, template: TemplateRecord, created: string): Promise<void> {
  const { paths } = context;
  const { name } = options;
  let further: Promise<void> | undefined;
  await journaled(paths, catalog, 'create-container', name, async (entry) => {
    const draft = draftArea(paths, entry);
    await makeAreaFolder(draft);
    for (const folder of ['root', 'inodes', 'staging']) makeFolder(join(draft, folder));
    // What stands below it has its own modes; the private area itself is closed to all but root.
    chmodSync(join(draft, 'root'), 0o755);
    writeNewFile(
      join(draft, 'container'),
      formatContainerFile(withApps({
        name,
        template: template.name,
        tree: template.tree,
        created,
        shared: options.shared ?? null,
        ids: options.ids ?? null,
        ...(options.quotaSizeBytes !== undefined && { quotaSizeBytes: options.quotaSizeBytes }),
        ...(options.quotaInodes !== undefined && { quotaInodes: options.quotaInodes }),
        other: [],
      }, templateApps(template).apps)),
    );
    syncFolder(draft);
    context.signal?.throwIfAborted();
    moveFolder(draft, paths.privateArea(name), paths.privateAreas);
    further = options.onPlaced?.();
    // Whatever becomes of the catalog, nobody is to miss what became of this.
    further?.catch(() => undefined);
  }).catch(async (error: unknown) => {
    await further?.catch(() => undefined);
    throw error;
  });
  await further;
}

/** A container on a tree that is gone or broken would be of no use; opening a tree costs the same whatever its size. */
function checkTree(file: string, template: string): void {
  try {
    TreeReader.open(file).close();
  } catch (error) {
    if (error instanceof TemplatefsError) throw error;
    throw new TemplatefsError('BAD_TREE', `the tree ${file} of template ${template} cannot be opened`, {
      hint: 'run `templatefs verify`; a tree is restored by importing its template again',
      cause: error,
    });
  }
}
