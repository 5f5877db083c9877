import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { importFolder } from '../store/import-folder.js';
import { importTarFile } from '../store/import-tar.js';
import { addTemplate, type AddedTemplate } from './add-template.js';
import type { ServiceContext } from './context.js';
import { importOptions } from './import-options.js';

export interface ImportTemplateOptions {
  readonly name: string;
  /** A tar, a folder, or `-` for a tar on stdin. */
  readonly source: string;
  /** Makes a new version of a template that is there. */
  readonly refresh?: boolean;
  /** For containers that say nothing themselves. */
  readonly shared?: SharedPaths;
}

interface Source {
  readonly kind: 'stdin' | 'folder' | 'archive';
  /** Bytes to read, where that is known beforehand. */
  readonly sizeBytes?: number;
}

function lookAtSource(source: string): Source {
  if (source === '-') return { kind: 'stdin' };
  try {
    const status = statSync(source);
    if (status.isDirectory()) return { kind: 'folder' };
    return status.isFile() ? { kind: 'archive', sizeBytes: status.size } : { kind: 'archive' };
  } catch (error) {
    throw new TemplatefsError('FAILED', `cannot read ${source}: ${errnoOf(error) ?? String(error)}`, {
      hint: 'name a tar archive (plain, gz, xz or zst), a folder, or - for a tar on stdin',
      cause: error,
    });
  }
}

/**
 * Makes a template of an archive or a folder.
 *
 * @throws USAGE, TEMPLATE_EXISTS, BAD_ARCHIVE, BUSY, NO_SPACE, STORE_NOT_WRITABLE, INTERRUPTED, FAILED
 */
export async function importTemplate(context: ServiceContext, options: ImportTemplateOptions): Promise<AddedTemplate> {
  const { name, source, refresh = false } = options;
  const { kind, sizeBytes } = lookAtSource(source);
  const place = resolve(source);
  return addTemplate(context, {
    name,
    refresh,
    source: kind === 'stdin' ? 'stdin' : `${kind} ${place}`,
    definition: null,
    ...(options.shared !== undefined && { shared: options.shared }),
    importTree: () =>
      kind === 'folder'
        ? importFolder(context.paths, place, importOptions(context))
        : importTarFile(context.paths, source, importOptions(context, sizeBytes)),
  });
}
