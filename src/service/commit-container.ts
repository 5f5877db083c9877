import { AreaStreamReader } from '../store/area-stream.js';
import { ByteSource } from '../store/byte-source.js';
import { CompiledTree } from '../store/compile-tree.js';
import type { ImportResult } from '../store/finish-import.js';
import { ObjectBatch } from '../store/object-batch.js';
import { TreeReader } from '../store/tree-reader.js';
import { addTemplate, type AddedTemplate } from './add-template.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { packContainer } from './pack-container.js';

export interface CommitOptions {
  /** A container, or `CT@ID` for one of its snapshots. */
  readonly from: string;
  readonly template: string;
  /** Makes a new version of a template that is there. */
  readonly refresh?: boolean;
}

/**
 * Makes a template of what a container shows, at the cost of what it has changed: its tree and its private area become one tree,
 * no content that is an object is read again, and new contents become objects. The container goes on as it is.
 *
 * @throws USAGE, CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, TEMPLATE_EXISTS, TEMPLATE_NOT_FOUND (refresh), BAD_TREE, BUSY, NO_SPACE,
 *   STORE_NOT_WRITABLE, IO_ERROR, INTEGRITY, ENGINE_FAILED, INTERRUPTED
 */
export async function commitContainer(context: ServiceContext, { from, template, refresh = false }: CommitOptions): Promise<AddedTemplate> {
  return addTemplate(context, {
    name: template,
    refresh,
    source: `container ${from}`,
    definition: definitionOf(context, from),
    importTree: () => compile(context, from),
  });
}

/** Packages of the new template's containers come from where those of this one do. */
function definitionOf(context: ServiceContext, from: string): string | null {
  using opened = openForReading(context);
  const { template } = findContainer(opened.catalog, from.split('@')[0] ?? '');
  return opened.catalog.template(template)?.definition ?? null;
}

async function compile(context: ServiceContext, from: string): Promise<ImportResult> {
  const { paths, signal } = context;
  const batch = await ObjectBatch.open(paths);
  let result: ImportResult | undefined;
  try {
    await packContainer(context, from, async (settings, stream) => {
      const base = TreeReader.open(paths.tree(settings.tree));
      try {
        const compiled = new CompiledTree(paths, base, batch);
        await compiled.apply(new AreaStreamReader(new ByteSource(stream)), signal);
        signal?.throwIfAborted();
        result = await compiled.finish();
      } finally {
        base.close();
      }
    });
  } finally {
    await batch.abandon();
  }
  if (result === undefined) throw new Error('a container was read without an end');
  return result;
}
