import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { TemplatefsError, errnoOf, storeWriteError } from '../core/errors.js';
import { makeFolders } from '../store/make-folders.js';
import { syncFolder, writeFileDurably } from '../store/write-file-durably.js';
import { blobPath, isJsonObject } from './descriptor.js';
import type { StoredImage, StoredLayer } from './image.js';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const REF_NAME = 'org.opencontainers.image.ref.name';

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface WriteImageOptions {
  /** An OCI image layout; made if it is not there. */
  readonly folder: string;
  readonly reference: string;
  /** The layers' plain tars, the lowest first. Called one after another. */
  readonly layers: readonly (() => Readable)[];
  /** An image configuration without `rootfs`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** An image below these layers: its own come first, as they are. */
  readonly base?: StoredImage;
}

/** Passes bytes on and keeps their digest and number. */
class Measure extends Transform {
  readonly #hash = createHash('sha256');
  size = 0;

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.#hash.update(chunk);
    this.size += chunk.length;
    done(null, chunk);
  }

  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

function placeOf(folder: string, digest: string): string {
  return join(folder, 'blobs/sha256', digest.slice('sha256:'.length));
}

async function writeLayer(folder: string, tar: Readable): Promise<{ blob: Blob; diffId: string }> {
  const temporary = join(folder, 'blobs/sha256', `.tmp-${randomUUID()}`);
  const [plain, packed] = [new Measure(), new Measure()];
  try {
    await pipeline(tar, plain, createGzip({ level: 6 }), packed, createWriteStream(temporary, { flags: 'wx', mode: 0o644, flush: true }));
    const digest = packed.digest();
    renameSync(temporary, placeOf(folder, digest));
    return { blob: { mediaType: LAYER, digest, size: packed.size }, diffId: plain.digest() };
  } catch (error) {
    rmSync(temporary, { force: true });
    throw storeWriteError(error, folder);
  }
}

/** The names that Docker gives the same forms of layers: an OCI manifest has OCI's. */
const OCI_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar[.+]gzip$/, LAYER],
  [/^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar[.+]zstd$/, 'application/vnd.oci.image.layer.v1.tar+zstd'],
  [/^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar$/, 'application/vnd.oci.image.layer.v1.tar'],
];

/** Takes a layer of another image over, bit by bit. */
async function copyLayer(folder: string, layer: StoredLayer): Promise<Blob> {
  const place = join(folder, blobPath(layer.digest));
  const mediaType = OCI_NAMES.find(([docker]) => docker.test(layer.mediaType))?.[1] ?? layer.mediaType;
  const blob = { mediaType, digest: layer.digest, size: layer.sizeBytes };
  if (existsSync(place)) return blob;
  const temporary = join(folder, 'blobs/sha256', `.tmp-${randomUUID()}`);
  try {
    makeFolders(dirname(place));
    await pipeline(layer.open(), createWriteStream(temporary, { flags: 'wx', mode: 0o644, flush: true }));
    renameSync(temporary, place);
    return blob;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw storeWriteError(error, folder);
  }
}

/** The history has an entry for each layer, in an image that has one at all. */
function withHistory(config: Readonly<Record<string, unknown>>, more: number): Readonly<Record<string, unknown>> {
  const history = config['history'];
  if (!Array.isArray(history)) return config;
  return { ...config, history: [...(history as unknown[]), ...Array.from({ length: more }, () => ({ created_by: 'templatefs export' }))] };
}

function writeJson(folder: string, json: unknown, mediaType: string): Blob {
  const bytes = JSON.stringify(json);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  writeFileDurably(placeOf(folder, digest), bytes, 0o644);
  return { mediaType, digest, size: Buffer.byteLength(bytes) };
}

/** The manifests of an index that is there already. @throws FAILED when that is none of a layout */
function presentManifests(folder: string): unknown[] {
  const file = join(folder, 'index.json');
  if (!existsSync(file)) return [];
  try {
    const index: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (isJsonObject(index) && Array.isArray(index['manifests'])) return index['manifests'] as unknown[];
  } catch {
    // Said below.
  }
  throw new TemplatefsError('FAILED', `${file} is no index of an OCI image layout`, { hint: 'name a new folder' });
}

/** Makes the folder a layout if it is none. @throws FAILED for a folder of something else */
function prepareLayout(folder: string): void {
  try {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === false) throw new TemplatefsError('FAILED', `${folder} is no folder`, { hint: 'write oci-archive:FILE for a file' });
    makeFolders(join(folder, 'blobs/sha256'));
    if (!existsSync(join(folder, 'oci-layout'))) writeFileDurably(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}', 0o644);
  } catch (error) {
    const known = storeWriteError(error, folder);
    if (known instanceof TemplatefsError) throw known;
    throw new TemplatefsError('FAILED', `cannot make the folder ${folder}: ${errnoOf(error) ?? String(error)}`, { hint: 'name a folder that is there, or can be made', cause: error });
  }
}

/**
 * Writes an image into an OCI image layout, beside those that are there; one of the same name loses that. Contents come before what names
 * them, so a cut leaves the old image or the new one. The same layers and configuration give the same bytes.
 * @returns the digest of the manifest @throws FAILED, NO_SPACE, STORE_NOT_WRITABLE, and what the layers throw
 */
export async function writeImage({ folder, reference, layers, config, base }: WriteImageOptions): Promise<string> {
  prepareLayout(folder);
  const others = presentManifests(folder).filter((one) => !(isJsonObject(one) && isJsonObject(one['annotations']) && one['annotations'][REF_NAME] === reference));
  const written: { blob: Blob; diffId: string }[] = [];
  for (const layer of base?.layers ?? []) written.push({ blob: await copyLayer(folder, layer), diffId: layer.diffId });
  for (const layer of layers) written.push(await writeLayer(folder, layer()));
  syncFolder(join(folder, 'blobs/sha256'));
  const configBlob = writeJson(folder, { ...(base === undefined ? config : withHistory(config, layers.length)), rootfs: { type: 'layers', diff_ids: written.map(({ diffId }) => diffId) } }, CONFIG);
  const manifest = writeJson(folder, { schemaVersion: 2, mediaType: MANIFEST, config: configBlob, layers: written.map(({ blob }) => blob) }, MANIFEST);
  const manifests = [...others, { ...manifest, annotations: { [REF_NAME]: reference } }];
  writeFileDurably(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests }), 0o644);
  return manifest.digest;
}
