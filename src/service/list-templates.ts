import { openForReading, type ServiceContext } from './context.js';

/** One row of `template list`. */
export interface TemplateSummary {
  readonly name: string;
  readonly version: number;
  /** Digest of its tree. */
  readonly tree: string;
  readonly files: number;
  /** Logical size of all files. */
  readonly bytes: number;
  readonly created: string;
}

/** All templates, by name. Reads only. @throws BAD_CATALOG, IO_ERROR */
export async function listTemplates(context: ServiceContext): Promise<TemplateSummary[]> {
  using opened = openForReading(context);
  return opened.catalog
    .templates()
    .map(({ name, version, tree, files, bytes, created }) => ({ name, version, tree, files, bytes, created }));
}
