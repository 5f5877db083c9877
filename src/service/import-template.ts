import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { importFolder } from '../store/import-folder.js';
import { importTarFile } from '../store/import-tar.js';
import { parseImageSource } from '../oci/image-source.js';
import { addTemplate, type AddedTemplate } from './add-template.js';
import type { ServiceContext } from './context.js';
import { importImage, type ImportImageOptions } from './import-image.js';
import { importOptions } from './import-options.js';

export interface ImportTemplateOptions extends ImportImageOptions {
  readonly name: string;
  /** A tar, a folder, `-` for a tar on stdin, or an image: `oci:DIR[:REF]`, `docker-archive:FILE` … */
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
      hint: 'name a tar archive (plain, gz, xz or zst), a folder, - for a tar on stdin, or an image as oci:DIR or docker://NAME',
      cause: error,
    });
  }
}

/**
 * Makes a template of an archive, a folder or an image.
 *
 * @throws USAGE, TEMPLATE_EXISTS, BAD_ARCHIVE, BUSY, NO_SPACE, STORE_NOT_WRITABLE, INTERRUPTED, FAILED
 */
export async function importTemplate(context: ServiceContext, options: ImportTemplateOptions): Promise<AddedTemplate> {
  const { name, source, refresh = false } = options;
  const image = parseImageSource(source);
  if (image !== undefined) {
    const { shared } = options;
    return addTemplate(context, {
      name, refresh, source: `image ${source}`, definition: null, ...(shared !== undefined && { shared }),
      importTree: () => importImage(context, image, options),
    });
  }
  if (options.platform !== undefined || options.tlsVerify === false) {
    throw new TemplatefsError('USAGE', `${source} is no image: --platform and --no-tls-verify are for images`, { hint: 'name an image as oci:DIR, docker-archive:FILE or docker://NAME' });
  }
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
