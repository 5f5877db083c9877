import { TemplatefsError } from '../core/errors.js';
import { badImage } from '../store/checked-bytes.js';
import { isJsonObject, parseDescriptor, readBlob, readJson, type Descriptor, type JsonObject } from './descriptor.js';
import { diffIdsOf, MAX_LAYERS, readConfig, type Image } from './image.js';
import type { ImageFiles } from './image-files.js';
import { formatPlatform, hostPlatform, isPlatform, type Platform } from './platform.js';

const INDEX_TYPES = ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json'];
const MANIFEST_TYPES = ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json'];
const CONFIG_TYPES = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'];
const LAYER_TYPE = /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[.+](?:gzip|zstd))?$/;
const REF_NAME = 'org.opencontainers.image.ref.name';
/** An index in an index is allowed; one in a hundred others leads nowhere. */
const MAX_DEPTH = 4;

export interface ChooseOptions {
  /** A tag, or `@sha256:…`; needed when there is more than one image. */
  readonly reference?: string;
  /** That of the host if left out. */
  readonly platform?: Platform;
}

/** Finds an image in an OCI image layout. @throws BAD_ARCHIVE, FAILED when there is not exactly one that fits */
export async function openLayout(files: ImageFiles, options: ChooseOptions): Promise<Image> {
  await checkLayout(files);
  const index = await files.read('index.json');
  if (index === undefined) throw badImage(`${files.place} has no index.json: it is no OCI image layout`);
  const found = choose(descriptorsOf(await readJson(index, 'index.json'), 'index.json'), files, options);
  return openManifest(files, await descend(files, found, options), options);
}

async function checkLayout(files: ImageFiles): Promise<void> {
  const mark = await files.read('oci-layout');
  if (mark === undefined) throw badImage(`${files.place} has no file oci-layout: it is no OCI image layout`);
  const json = await readJson(mark, 'oci-layout');
  const version = isJsonObject(json) ? json['imageLayoutVersion'] : undefined;
  if (typeof version !== 'string' || !version.startsWith('1.')) throw badImage(`${files.place} is an OCI image layout of a version that is not known: ${JSON.stringify(version)}`);
}

function descriptorsOf(index: unknown, what: string): Descriptor[] {
  const manifests = isJsonObject(index) ? index['manifests'] : undefined;
  if (!Array.isArray(manifests)) throw badImage(`${what} has no manifests`);
  return manifests.map((one: unknown, at) => parseDescriptor(one, `manifest ${at + 1} of ${what}`));
}

/** The image that is asked for by name. */
function choose(descriptors: readonly Descriptor[], files: ImageFiles, { reference, platform }: ChooseOptions): Descriptor {
  const named = reference === undefined
    ? descriptors
    : descriptors.filter(({ digest, annotations }) => reference === `@${digest}` || annotations[REF_NAME] === reference);
  const [first, ...others] = named;
  if (first !== undefined && others.every(({ digest }) => digest === first.digest)) return first;
  // Several of one name may be for several platforms.
  if (first !== undefined && (reference !== undefined || named.every(({ annotations }) => annotations[REF_NAME] === undefined))) return byPlatform(named, platform, files.place);
  const names = [...new Set(descriptors.map(({ digest, annotations }) => (typeof annotations[REF_NAME] === 'string' ? annotations[REF_NAME] : `@${digest}`)))];
  throw new TemplatefsError('FAILED', reference === undefined ? `${files.place} holds ${descriptors.length} images` : `${files.place} holds no image ${JSON.stringify(reference)}`, {
    hint: names.length === 0 ? 'copy an image into it first: skopeo copy' : `name one behind a colon: ${names.slice(0, 10).join(', ')}`,
  });
}

function byPlatform(descriptors: readonly Descriptor[], wanted: Platform | undefined, place: string): Descriptor {
  const platform = wanted ?? hostPlatform();
  const fitting = descriptors.filter((one) => one.platform !== undefined && isPlatform(one.platform, platform));
  const [first] = fitting;
  if (first !== undefined) return first;
  // Attestations and the like have a platform of their own, `unknown/unknown`.
  const offered = [...new Set(descriptors.flatMap((one) => (one.platform === undefined || one.platform.os === 'unknown' ? [] : [formatPlatform(one.platform)])))];
  throw new TemplatefsError('FAILED', `the image in ${place} is not made for ${formatPlatform(platform)}`, {
    hint: offered.length === 0 ? 'its index names no platforms' : `it is made for ${offered.join(', ')}; choose one with --platform`,
  });
}

/** Follows indexes until there is a manifest. */
async function descend(files: ImageFiles, from: Descriptor, { platform }: ChooseOptions): Promise<Descriptor> {
  let found = from;
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
    if (!INDEX_TYPES.includes(found.mediaType)) return found;
    const index = await readJson(readBlob(files, found), `the index ${found.digest}`);
    found = byPlatform(descriptorsOf(index, `the index ${found.digest}`), platform, files.place);
  }
  throw badImage(`indexes in indexes, more than ${MAX_DEPTH} deep`);
}

async function openManifest(files: ImageFiles, descriptor: Descriptor, { platform }: ChooseOptions): Promise<Image> {
  const { digest } = descriptor;
  const manifest = await readJson(readBlob(files, descriptor), `the manifest ${digest}`);
  if (!isJsonObject(manifest) || manifest['schemaVersion'] !== 2) throw badImage(`the manifest ${digest} is none of version 2`);
  const type = manifest['mediaType'] ?? descriptor.mediaType;
  // One that says nothing is taken for what its descriptor says; a manifest that is an index in disguise is not.
  if (typeof type !== 'string' || !MANIFEST_TYPES.includes(type) || 'manifests' in manifest) throw badImage(`the manifest ${digest} has the type ${JSON.stringify(type)}`);
  const configDescriptor = parseDescriptor(manifest['config'], `the configuration of ${digest}`);
  if (!CONFIG_TYPES.includes(configDescriptor.mediaType)) {
    throw badImage(`${digest} is no image of a container but ${JSON.stringify(configDescriptor.mediaType)}`);
  }
  const config = await readJson(readBlob(files, configDescriptor), `the configuration ${configDescriptor.digest}`);
  const layers = layersOf(manifest, digest);
  const diffIds = diffIdsOf(config);
  if (layers.length !== diffIds.length) throw badImage(`the manifest ${digest} has ${layers.length} layers, its configuration ${diffIds.length}`);
  return {
    digest,
    config: readConfig(config, platform),
    layers: layers.map((layer, at) => ({ name: layer.digest, diffId: diffIds[at] ?? '', open: () => readBlob(files, layer) })),
    sizeBytes: layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    ...(isJsonObject(config) && {
      stored: {
        config,
        layers: layers.map((layer, at) => ({ mediaType: layer.mediaType, digest: layer.digest, sizeBytes: layer.sizeBytes, diffId: diffIds[at] ?? '', open: () => readBlob(files, layer) })),
      },
    }),
  };
}

function layersOf(manifest: JsonObject, digest: string): Descriptor[] {
  const layers = manifest['layers'];
  if (!Array.isArray(layers)) throw badImage(`the manifest ${digest} has no layers`);
  if (layers.length > MAX_LAYERS) throw badImage(`the manifest ${digest} has more than ${MAX_LAYERS} layers`);
  return layers.map((one: unknown, at) => {
    const layer = parseDescriptor(one, `layer ${at + 1} of ${digest}`);
    if (!LAYER_TYPE.test(layer.mediaType)) throw badImage(`layer ${at + 1} of ${digest} has the type ${JSON.stringify(layer.mediaType)}, which is no layer that is known`);
    return layer;
  });
}
