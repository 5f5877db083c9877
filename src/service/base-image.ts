import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TemplatefsError } from '../core/errors.js';
import { copyFromRegistry } from '../oci/copy-from-registry.js';
import type { Image, StoredImage } from '../oci/image.js';
import { FolderFiles, type ImageFiles } from '../oci/image-files.js';
import { parseImageSource, type ImageSource } from '../oci/image-source.js';
import { openLayout } from '../oci/oci-layout.js';
import { createStagingFolder } from '../store/staging.js';
import { openForReading, openForWriting, type ServiceContext } from './context.js';
import { findContainer, findTemplate } from './find-record.js';
import { openImageFiles } from './import-image.js';

export interface BaseImageOptions {
  readonly container: string;
  /** As `template import` takes it. */
  readonly source: string;
  readonly tlsVerify: boolean;
}

/**
 * Opens the image that a container's tree was made of, for as long as `work` takes: only over that one are the container's changes a
 * layer.
 *
 * @throws CONTAINER_NOT_FOUND, USAGE, FAILED for another image, BAD_ARCHIVE for a broken one
 */
export async function withBaseImage<Result>(context: ServiceContext, options: BaseImageOptions, work: (base: StoredImage) => Promise<Result>): Promise<Result> {
  const source = parseImageSource(options.source);
  if (source === undefined || source.transport === 'docker-archive') {
    throw new TemplatefsError('USAGE', `not a base image: ${JSON.stringify(options.source)}`, { hint: 'write oci:DIR[:REF], oci-archive:FILE[:REF] or docker://NAME:TAG' });
  }
  const wanted = digestOfTree(context, options.container);
  return withFiles(context, source, options.tlsVerify, async (files, reference) => {
    const image = await openLayout(files, reference === undefined ? {} : { reference });
    return work(checkedBase(image, wanted, options));
  });
}

/** The image that a container's tree was made of, by the digest that its template has noted. */
function digestOfTree(context: ServiceContext, container: string): string | undefined {
  using opened = openForReading(context);
  const { tree, template } = findContainer(opened.catalog, container);
  const record = findTemplate(opened.catalog, template);
  // A template that has a new version says nothing of the tree that the container stands on.
  return record.tree === tree ? /^image .* (sha(?:256|512):[0-9a-f]+)$/s.exec(record.source)?.[1] : undefined;
}

function checkedBase({ digest, stored }: Image, wanted: string | undefined, { container, source }: BaseImageOptions): StoredImage {
  if (wanted === digest && stored !== undefined) return stored;
  throw new TemplatefsError('FAILED', `container ${container} does not stand on the image ${source} (${digest})${wanted === undefined ? '' : `, but on ${wanted}`}`, {
    hint: wanted === undefined ? 'its template was made of no image, or has changed since: export it whole, without --base' : 'name that image, or export it whole, without --base',
  });
}

async function withFiles<Result>(
  context: ServiceContext,
  source: Exclude<ImageSource, { transport: 'docker-archive' }>,
  tlsVerify: boolean,
  work: (files: ImageFiles, reference: string | undefined) => Promise<Result>,
): Promise<Result> {
  if (source.transport !== 'docker') {
    const files = await openImageFiles(context, source);
    try {
      return await work(files, source.reference);
    } finally {
      await files.close();
    }
  }
  (await openForWriting(context))[Symbol.dispose]();
  const folder = await createStagingFolder(context.paths);
  try {
    const copy = join(folder, 'image');
    const { signal, onLog } = context;
    await copyFromRegistry({ reference: source.reference, folder: copy, tlsVerify, ...(signal !== undefined && { signal }), ...(onLog !== undefined && { onLog }) });
    return await work(new FolderFiles(copy), undefined);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
