import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { copyFromRegistry } from '../oci/copy-from-registry.js';
import { openDockerArchive } from '../oci/docker-archive.js';
import { FolderFiles, TarFiles, type ImageFiles } from '../oci/image-files.js';
import { formatImageSource, type ImageSource } from '../oci/image-source.js';
import { openLayout, type ChooseOptions } from '../oci/oci-layout.js';
import type { Platform } from '../oci/platform.js';
import { importLayers } from '../store/import-layers.js';
import { createStagingFolder, ensureStaging, stagingPath } from '../store/staging.js';
import type { ImportedTree } from './add-template.js';
import type { ServiceContext } from './context.js';
import { importOptions } from './import-options.js';

export interface ImportImageOptions {
  /** That of the host if left out. */
  readonly platform?: Platform;
  /** For registries; true if left out. */
  readonly tlsVerify?: boolean;
}

/**
 * Brings an image into the store as one tree, all layers applied. @throws BAD_ARCHIVE for a broken or hostile one, USAGE, FAILED
 * when it is not there or not for the platform, and as `importTar`
 */
export async function importImage(context: ServiceContext, source: ImageSource, options: ImportImageOptions = {}): Promise<ImportedTree> {
  const { paths } = context;
  const platform = options.platform === undefined ? {} : { platform: options.platform };
  if (source.transport !== 'docker') {
    const files = await openImageFiles(context, source);
    return importFrom(context, source, files, { ...platform, ...(source.reference !== undefined && { reference: source.reference }) });
  }
  const folder = await createStagingFolder(paths);
  try {
    const copy = join(folder, 'image');
    await copyFromRegistry({
      reference: source.reference,
      folder: copy,
      tlsVerify: options.tlsVerify ?? true,
      ...platform,
      ...(context.signal !== undefined && { signal: context.signal }),
      ...(context.onLog !== undefined && { onLog: context.onLog }),
    });
    return await importFrom(context, source, new FolderFiles(copy), platform);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Opens the files of an image that lies on this host. @throws BAD_ARCHIVE, FAILED */
export async function openImageFiles({ paths }: ServiceContext, source: Exclude<ImageSource, { transport: 'docker' }>): Promise<ImageFiles> {
  if (source.transport === 'oci') return new FolderFiles(source.path);
  return TarFiles.open(source.path, () => {
    ensureStaging(paths);
    return stagingPath(paths, 'objects');
  });
}

async function importFrom(context: ServiceContext, source: ImageSource, files: ImageFiles, choose: ChooseOptions): Promise<ImportedTree> {
  try {
    const image = source.transport === 'docker-archive' ? await openDockerArchive(files, choose) : await openLayout(files, choose);
    const imported = await importLayers(context.paths, image.layers, importOptions(context, image.sizeBytes));
    return { ...imported, image: image.config, source: `image ${formatImageSource(source)} ${image.digest}` };
  } finally {
    await files.close();
  }
}
