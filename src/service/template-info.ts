import { statSync } from 'node:fs';
import { TemplatefsError } from '../core/errors.js';
import type { ImageConfig } from '../core/image-config.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { TreeReader } from '../store/tree-reader.js';
import type { TemplateDefinition } from '../templates/definition.js';
import { openForReading, type ServiceContext } from './context.js';
import { findTemplate } from './find-record.js';
import type { TemplateSummary } from './list-templates.js';
import { imageOf } from './start-words.js';
import { templateApps } from './template-apps.js';
import { templateSharedPaths, type SharedPathsSource } from './shared-paths.js';

/** What `template info` says. */
export interface TemplateInfo extends TemplateSummary {
  readonly source: string;
  /** The definition that it was made from; null for an import. */
  readonly definition: unknown;
  /** Of the definition, as it was then; null for an import, and for templates that are older than this. */
  readonly summary: string | null;
  readonly description: string | null;
  /** Kernel release that the distribution came with. */
  readonly osRelease: string | null;
  /** Releases of the distribution from which containers can be upgraded to this one. */
  readonly upgradableVersions: readonly string[];
  /** App templates that its containers start with. */
  readonly apptemplates: readonly string[];
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
  const recorded = (definition === null ? {} : JSON.parse(definition)) as Partial<TemplateDefinition>;
  const { nodeCount, entryCount, objectCount } = readHeader(file, name);
  return {
    ...template,
    source,
    definition: definition === null ? null : (JSON.parse(definition) as unknown),
    summary: recorded.summary ?? null,
    description: recorded.description ?? null,
    osRelease: recorded.osRelease ?? null,
    upgradableVersions: recorded.upgradableVersions ?? [],
    apptemplates: templateApps({ definition }).apps.map((app) => app.template),
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
