import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { promisify } from 'node:util';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import { formatImageConfig, type ImageConfig } from '../core/image-config.js';
import type { StoredImage } from '../oci/image.js';
import { runSkopeo } from '../oci/copy-from-registry.js';
import { hostPlatform } from '../oci/platform.js';
import { DEFAULT_PATH } from '../oci/runtime-config.js';
import { writeImage } from '../oci/write-layout.js';
import { beginDraft, publishDraft } from '../store/draft-file.js';
import { packFolder } from '../store/pack-folder.js';
import type { RawName } from '../store/raw-names.js';
import { createStagingFolder } from '../store/staging.js';
import { refuseWhiteoutNames, whiteoutMembers } from '../store/whiteouts.js';
import { withBaseImage } from './base-image.js';
import { openForReading, openForWriting, type ServiceContext } from './context.js';
import { openSettledView } from './diff-container.js';
import { findContainer } from './find-record.js';
import { layerChanges } from './layer-changes.js';
import { imageOf } from './start-words.js';
import { enterContainer, leaveContainer } from './use-container.js';

export interface ExportOptions {
  readonly name: string;
  /** `oci:DIR[:REF]`, `oci-archive:FILE` or FILE, `docker://NAME`. */
  readonly target: string;
  readonly tlsVerify?: boolean;
  /** The image that the container's template was made of, as `template import` takes it: only what was changed becomes a layer above it. */
  readonly base?: string;
}

export interface ExportedContainer {
  readonly name: string;
  readonly target: string;
  /** Of the image's manifest. */
  readonly digest: string;
}

type Target =
  | { readonly kind: 'layout'; readonly folder: string; readonly reference: string }
  | { readonly kind: 'archive'; readonly file: string }
  | { readonly kind: 'registry'; readonly reference: string };

function parseTarget(target: string): Target {
  if (target.startsWith('docker://')) return { kind: 'registry', reference: target.slice('docker://'.length) };
  if (target.startsWith('oci:')) {
    const [, folder = '', reference = 'latest'] = /^oci:(.*?)(?::([^/:]+))?$/s.exec(target) ?? [];
    if (folder !== '') return { kind: 'layout', folder: resolve(folder), reference };
  }
  const file = target.replace(/^oci-archive:/, '');
  if (file !== '' && file !== '-' && !/^[a-z-]+:/.test(file)) return { kind: 'archive', file: resolve(file) };
  throw new TemplatefsError('USAGE', `not a place for an image: ${JSON.stringify(target)}`, { hint: 'write oci:DIR[:REF], oci-archive:FILE or docker://NAME:TAG' });
}

const NO_IMAGE: ImageConfig = {
  entrypoint: [], cmd: ['/bin/sh'], env: [DEFAULT_PATH], user: null, workdir: null, labels: {}, stopSignal: null, exposedPorts: [], volumes: [],
  ...hostPlatform(),
};

/**
 * Writes a container as an image of one layer (or of one over a base image): all that its root shows, as the container's own ids. Deterministic: the same root
 * gives the same image. Sockets are left out; no archive can hold them.
 *
 * @throws CONTAINER_NOT_FOUND, USAGE, BUSY when it is mounted with its ids mapped, FAILED when something writes to it meanwhile, NO_SPACE
 */
export async function exportContainer(context: ServiceContext, options: ExportOptions): Promise<ExportedContainer> {
  const target = parseTarget(options.target);
  const { name } = options;
  if (options.base === undefined) return writeTarget(context, options, target, { config: formatImageConfig(templateImage(context, name)) });
  return withBaseImage(context, { container: name, source: options.base, tlsVerify: options.tlsVerify ?? true }, (base) => writeTarget(context, options, target, { config: base.config, base }));
}

/** What stands in the image beside the layer that is made. */
interface Frame {
  readonly config: Readonly<Record<string, unknown>>;
  readonly base?: StoredImage;
}

async function writeTarget(context: ServiceContext, options: ExportOptions, target: Target, image: Frame): Promise<ExportedContainer> {
  const { name } = options;
  if (target.kind === 'layout') return { name, target: options.target, digest: await writeRoot(context, name, image, target) };
  using opened = await openForWriting(context);
  findContainer(opened.catalog, name);
  const staging = await createStagingFolder(context.paths);
  try {
    const folder = join(staging, 'image');
    const digest = await writeRoot(context, name, image, { folder, reference: 'latest' });
    if (target.kind === 'archive') await packLayout(folder, target.file);
    else {
      const verify = options.tlsVerify === false ? ['--dest-tls-verify=false'] : [];
      await runSkopeo(['copy', '--quiet', '--retry-times', '2', ...verify, `oci:${folder}:latest`, `docker://${target.reference}`], target.reference, context);
    }
    return { name, target: options.target, digest };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

function templateImage(context: ServiceContext, name: string): ImageConfig {
  using opened = openForReading(context);
  return imageOf(context.paths, findContainer(opened.catalog, name).template) ?? NO_IMAGE;
}

/** How often a root that changes while it is read is read anew. */
const ATTEMPTS = 3;

async function writeRoot(context: ServiceContext, name: string, image: Frame, place: { folder: string; reference: string }): Promise<string> {
  const { root, use } = await enterContainer(context, name, { ids: null });
  try {
    for (let attempt = 1; ; attempt += 1) {
      const written = await tryToWrite(context, { name, root }, image, { ...place, last: attempt === ATTEMPTS });
      if (written !== undefined) return written;
    }
  } finally {
    use.release();
    await leaveContainer(context, name);
  }
}

/** @returns the digest; undefined when something changed meanwhile and this was not the last attempt */
async function tryToWrite(
  context: ServiceContext,
  { name, root }: { name: string; root: string },
  image: Frame,
  { folder, reference, last }: { folder: string; reference: string; last: boolean },
): Promise<string | undefined> {
  const changes = image.base === undefined ? undefined : await changesOf(context, name);
  const packed = packFolder(root, { oneFileSystem: true, ...(changes !== undefined && { members: changes.kept }) });
  const stop = (): void => void packed.stop();
  const stopListening = onAbort(context.signal, stop);
  try {
    // A tar that failed ends its stream as one that did not: nothing may name what came of it.
    const checked = packed.archive.pipe(endingWith(packed.ended));
    if (changes !== undefined) checked.push(changes.whiteouts);
    packed.archive.on('error', (error) => { checked.destroy(error); });
    // One that comes before anybody reads must not end the process.
    checked.on('error', () => undefined);
    return await writeImage({ folder, reference, layers: [() => checked], ...image });
  } catch (error) {
    context.signal?.throwIfAborted();
    if (packed.hasChanged() && !last) return undefined;
    throw error;
  } finally {
    stopListening();
    await packed.stop();
  }
}

/** What a layer over the container's tree holds, and what it takes away. */
async function changesOf(context: ServiceContext, name: string): Promise<{ kept: RawName[]; whiteouts: Buffer }> {
  using view = await openSettledView(context, name);
  const changes = layerChanges(view);
  const kept = changes.flatMap(({ path, kind, type }) => (kind === 'delete' || type === 'socket' ? [] : [path]));
  refuseWhiteoutNames(kept);
  return { kept, whiteouts: whiteoutMembers(changes.flatMap(({ path, kind }) => (kind === 'delete' ? [path] : []))) };
}

/** Passes bytes on, and ends only when whoever made them says that they are whole. */
function endingWith(ended: Promise<TemplatefsError | undefined>): Transform {
  return new Transform({
    highWaterMark: 1 << 20,
    transform: (chunk: Buffer, _encoding, done) => {
      done(null, chunk);
    },
    flush: (done) => {
      void ended.then((failure) => {
        done(failure ?? null);
      });
    },
  });
}

/** tar says it in words. */
function packError(error: unknown, file: string): TemplatefsError {
  const said = error instanceof Error ? error.message.trim() : String(error);
  if (errnoOf(error) === 'ENOSPC' || /No space left on device|Disk quota exceeded/.test(said)) {
    return new TemplatefsError('NO_SPACE', `no space left while writing ${file}`, { hint: 'free some space there, or name a file elsewhere', cause: error });
  }
  return new TemplatefsError('FAILED', `cannot write ${file}: ${said}`, { hint: 'see that its folder is there and can be written', cause: error });
}

/** A layout as one file, durably; the same layout gives the same bytes. */
async function packLayout(folder: string, file: string): Promise<void> {
  const draft = beginDraft(file);
  try {
    await promisify(execFile)('tar', ['--create', '--format=ustar', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=a=r,u+w,a+X', `--file=${draft}`, `--directory=${folder}`, 'blobs', 'index.json', 'oci-layout']);
    publishDraft(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw packError(error, file);
  }
}
