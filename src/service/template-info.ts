import { statSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import type { ImageConfig } from '../core/image-config.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { TreeReader } from '../store/tree-reader.js';
import { openForReading, type ServiceContext } from './context.js';
import { findTemplate } from './find-record.js';
import type { TemplateSummary } from './list-templates.js';
import { imageOf } from './start-words.js';
import { templateSharedPaths, type SharedPathsSource } from './shared-paths.js';

/** What `template info` says. */
export interface TemplateInfo extends TemplateSummary {
  readonly source: string;
  /** The definition that it was made from; null for an import. */
  readonly definition: unknown;
  /** Inodes of all types. */
  readonly nodes: number;
  /** Names of all types. */
  readonly entries: number;
  /** Different contents. */
  readonly objects: number;
  /** Size of the tree image. */
  readonly treeBytes: number;
  readonly containers: readonly string[];
  /** How its containers start; null when it was made from no image. */
  readonly image: ImageConfig | null;
  /** Those of its containers that say nothing themselves. */
  readonly sharedPaths: SharedPaths;
  /** Whose setting that is. */
  readonly sharedPathsFrom: SharedPathsSource;
}

/** @throws TEMPLATE_NOT_FOUND, BAD_TREE, BAD_CATALOG */
export async function templateInfo(context: ServiceContext, name: string): Promise<TemplateInfo> {
  using opened = openForReading(context);
  const { source, definition, ...template } = findTemplate(opened.catalog, name);
  const file = context.paths.tree(template.tree);
  const shared = templateSharedPaths(context.paths, name);
  const { nodeCount, entryCount, objectCount } = readHeader(file, name);
  return {
    ...template,
    source,
    definition: definition === null ? null : (JSON.parse(definition) as unknown),
    nodes: nodeCount,
    entries: entryCount,
    objects: objectCount,
    treeBytes: statSync(file).size,
    containers: opened.catalog.containersOf(name),
    image: imageOf(context.paths, name),
    sharedPaths: shared.paths,
    sharedPathsFrom: shared.from,
  };
}

function readHeader(file: string, template: string): TreeReader['header'] {
  try {
    const reader = TreeReader.open(file);
    reader.close();
    return reader.header;
  } catch (error) {
    if (error instanceof TemplatefsError) throw error;
    throw new TemplatefsError('BAD_TREE', `the tree ${file} of template ${template} cannot be opened`, {
      hint: 'run `templatefs verify`; a tree is restored by importing its template again',
      cause: error,
    });
  }
}
