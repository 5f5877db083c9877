import { TemplatefsError } from '../core/errors.js';
import { badImage, parseDigest } from '../store/checked-bytes.js';
import { isJsonObject, readJson } from './descriptor.js';
import { diffIdsOf, MAX_LAYERS, readConfig, type Image } from './image.js';
import type { ImageFiles } from './image-files.js';
import type { ChooseOptions } from './oci-layout.js';

interface Entry {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

function parseEntry(value: unknown): Entry {
  if (!isJsonObject(value)) throw badImage('manifest.json holds something that is no image');
  const { Config: config, RepoTags: tags, Layers: layers } = value;
  const isWords = (list: unknown): list is string[] => Array.isArray(list) && list.every((word) => typeof word === 'string');
  if (typeof config !== 'string' || !isWords(layers) || (tags !== undefined && tags !== null && !isWords(tags))) throw badImage('manifest.json holds an image without configuration or layers');
  return { config, tags: tags ?? [], layers };
}

/** A reference in the short form that people write: with a tag, and without Docker's own registry. */
function shortName(reference: string): string {
  const name = reference.replace(/^docker\.io\/(?:library\/)?/, '');
  return /:[^/]*$/.test(name) ? name : `${name}:latest`;
}

/**
 * Finds an image in what `docker save` writes. It has no digests of blobs: what vouches for a layer is the digest of its
 * content in the configuration. @throws BAD_ARCHIVE, FAILED when there is not exactly one that fits
 */
export async function openDockerArchive(files: ImageFiles, { reference, platform }: ChooseOptions): Promise<Image> {
  const bytes = await files.read('manifest.json');
  if (bytes === undefined) throw badImage(`${files.place} has no manifest.json: \`docker save\` did not write it`);
  const list = await readJson(bytes, 'manifest.json');
  if (!Array.isArray(list)) throw badImage('manifest.json is no list');
  const entries = list.map(parseEntry);
  const fitting = reference === undefined ? entries : entries.filter(({ tags }) => tags.some((tag) => shortName(tag) === shortName(reference)));
  const [entry] = fitting;
  if (entry === undefined || fitting.length > 1) {
    const names = entries.flatMap(({ tags }) => tags);
    throw new TemplatefsError('FAILED', reference === undefined ? `${files.place} holds ${entries.length} images` : `${files.place} holds no image ${JSON.stringify(reference)}`, {
      hint: names.length === 0 ? 'save one image alone' : `name one behind a colon: ${names.slice(0, 10).join(', ')}`,
    });
  }
  const configBytes = await files.read(entry.config);
  if (configBytes === undefined) throw badImage(`the configuration ${JSON.stringify(entry.config)} is missing in ${files.place}`);
  const config = await readJson(configBytes, 'the configuration');
  const diffIds = diffIdsOf(config);
  if (entry.layers.length !== diffIds.length || diffIds.length > MAX_LAYERS) throw badImage(`it has ${entry.layers.length} layers, its configuration ${diffIds.length}, at most ${MAX_LAYERS} can be`);
  return {
    digest: nameOf(entry.config),
    config: readConfig(config, platform),
    layers: entry.layers.map((path, at) => ({ name: path, diffId: diffIds[at] ?? '', open: () => readLayer(files, path) })),
  };
}

/** The configuration's name is its digest: `<hex>.json`, or a path among blobs. */
function nameOf(config: string): string {
  const hex = /([0-9a-f]{64})(?:\.json)?$/.exec(config)?.[1];
  return hex !== undefined && parseDigest(`sha256:${hex}`) !== undefined ? `sha256:${hex}` : config;
}

async function* readLayer(files: ImageFiles, path: string): AsyncGenerator<Buffer> {
  const bytes = await files.read(path);
  if (bytes === undefined) throw badImage(`the layer ${JSON.stringify(path)} is missing in ${files.place}`);
  yield* bytes;
}
