import { formatTemplateFile, readTemplateFile } from '../catalog/template-file.js';
import { HeldLocks } from '../catalog/lock.js';
import type { Catalog } from '../catalog/catalog.js';
import { makeFolder, writeFileDurably } from '../store/write-file-durably.js';
import { TemplatefsError } from '../core/errors.js';
import type { ImageConfig } from '../core/image-config.js';
import { checkTemplateName } from '../core/names.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { removeStaleStaging } from '../store/staging.js';
import { settleMended } from './broken-objects.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { findTemplate, lockSubject } from './find-record.js';
import { journaled } from './journal.js';
import { noteObjectsChange } from './object-totals.js';

/** What an import says of the tree that it has made. */
export interface ImportedTree {
  readonly tree: string;
  readonly files: number;
  readonly bytes: number;
  readonly newObjects: number;
  readonly newBytes: number;
  readonly sharedObjects: number;
  /** How the image wants to be started, if it was one. */
  readonly image?: ImageConfig;
  /** In place of what the caller says, when only the import finds it out. */
  readonly source?: string;
}

export interface AddTemplateOptions {
  readonly name: string;
  /** Makes a new version of a template that is there; else its name must be free. */
  readonly refresh: boolean;
  /** Told by `template info`. */
  readonly source: string;
  /** The definition as JSON; null for an import. */
  readonly definition: string | null;
  /** undefined: as the version before had them, if there was one. */
  readonly shared?: SharedPaths;
  /** Puts the content into the store. */
  readonly importTree: () => Promise<ImportedTree>;
}

/** What `template create` and `template import` answer. */
export interface AddedTemplate {
  readonly name: string;
  readonly version: number;
  readonly tree: string;
  readonly files: number;
  /** Logical size of all files. */
  readonly bytes: number;
  readonly created: string;
  /** Contents that the store did not have. */
  readonly newObjects: number;
  readonly newBytes: number;
  /** Contents that the store had already. */
  readonly sharedObjects: number;
}

function checkFree(catalog: Catalog, name: string, refresh: boolean): void {
  if (refresh) {
    findTemplate(catalog, name);
    return;
  }
  const there = catalog.template(name);
  if (there === undefined) return;
  throw new TemplatefsError('TEMPLATE_EXISTS', `there is a template ${name} already (version ${there.version})`, {
    hint: 'choose another name, or make a new version of it with --refresh',
  });
}

/**
 * Makes a template of what `importTree` brings in. The template appears when everything of it is durable; after a
 * failure or a cut the store holds at most objects that no tree names.
 *
 * @throws USAGE, TEMPLATE_EXISTS, TEMPLATE_NOT_FOUND (refresh), BUSY, and what `importTree` throws
 */
export async function addTemplate(context: ServiceContext, options: AddTemplateOptions): Promise<AddedTemplate> {
  const { paths } = context;
  const name = checkTemplateName(options.name);
  const held = await takeName(context, name, options.refresh);
  try {
    // Garbage collection must not run while there are objects that no tree names yet.
    using locks = new HeldLocks();
    locks.hold(await lock(context, { name: 'store', what: 'the store', mode: 'shared' }));
    await removeStaleStaging(paths);
    const imported = await options.importTree();
    // The import may have brought back what was known to be broken.
    await settleMended(context);
    context.signal?.throwIfAborted();
    using opened = await openForWriting(context);
    const { catalog } = opened;
    checkFree(catalog, name, options.refresh);
    const version = (catalog.template(name)?.version ?? 0) + 1;
    const created = new Date().toISOString();
    const { tree, files, bytes, newObjects, newBytes, sharedObjects } = imported;
    makeFolder(paths.templates);
    await journaled(paths, catalog, 'add-template', name, () => {
      const { source, definition } = options;
      const shared = options.shared ?? readTemplateFile(paths.templateRecord(name))?.shared ?? null;
      const record = { name, version, tree, files, bytes, created, source: imported.source ?? source, definition, shared };
      const { image } = imported;
      writeFileDurably(paths.templateRecord(name), formatTemplateFile({ ...record, ...(image !== undefined && { image }) }));
    });
    return { name, version, tree, files, bytes, created, newObjects, newBytes, sharedObjects };
  } finally {
    held.release();
  }
}

/** Claims the name for the whole time, so that two imports of one name do not both do the work. */
async function takeName(context: ServiceContext, name: string, refresh: boolean): Promise<{ release: () => void }> {
  using opened = await openForWriting(context);
  const held = await lockSubject(context, opened.catalog, 'template', name);
  try {
    checkFree(opened.catalog, name, refresh);
    noteObjectsChange(opened.catalog);
    return held;
  } catch (error) {
    held.release();
    throw error;
  }
}
