import { ImageConfigProblem, parseImageConfig, type ImageConfig } from '../core/image-config.js';
import { badImage, parseDigest } from '../store/checked-bytes.js';
import type { Layer } from '../store/import-layers.js';
import { isJsonObject, type JsonObject } from './descriptor.js';
import { formatPlatform, isPlatform, type Platform } from './platform.js';

/** An image that was found and understood; its layers are not read yet. */
export interface Image {
  /** What names it exactly: the digest of its manifest or configuration. */
  readonly digest: string;
  readonly config: ImageConfig;
  readonly layers: readonly Layer[];
  /** Bytes of all layers as they are stored, where that is known. */
  readonly sizeBytes?: number;
  /** As it stands in its layout, for images that are built upon it; an archive of Docker has none of that. */
  readonly stored?: StoredImage;
}

export interface StoredImage {
  /** The whole configuration, unknown fields too. */
  readonly config: JsonObject;
  readonly layers: readonly StoredLayer[];
}

export interface StoredLayer {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly diffId: string;
  /** Its bytes as they are stored, checked while they are read. */
  readonly open: () => AsyncIterable<Buffer>;
}

/** containerd's overlayfs mounts fewer; nobody builds more. */
export const MAX_LAYERS = 1000;

/** The digests of the decompressed layers. @throws BAD_ARCHIVE */
export function diffIdsOf(config: unknown): string[] {
  const rootfs = isJsonObject(config) ? config['rootfs'] : undefined;
  const ids = isJsonObject(rootfs) ? rootfs['diff_ids'] : undefined;
  if (!Array.isArray(ids)) throw badImage('its configuration names no layers (rootfs.diff_ids)');
  return ids.map((id: unknown) => {
    if (typeof id !== 'string' || parseDigest(id) === undefined) throw badImage('its configuration has a layer without a digest of sha256 or sha512');
    return id;
  });
}

/** @param wanted what the user asked for, if he did @throws BAD_ARCHIVE */
export function readConfig(config: unknown, wanted: Platform | undefined): ImageConfig {
  let parsed: ImageConfig;
  try {
    parsed = parseImageConfig(config);
  } catch (error) {
    if (error instanceof ImageConfigProblem) throw badImage(`its configuration: ${error.message}`, error);
    throw error;
  }
  const variant = isJsonObject(config) && typeof config['variant'] === 'string' ? config['variant'] : undefined;
  const is: Platform = { os: parsed.os, architecture: parsed.architecture, ...(variant !== undefined && { variant }) };
  if (parsed.os !== 'linux' || (wanted !== undefined && !isPlatform(is, { os: wanted.os, architecture: wanted.architecture }))) {
    throw badImage(`it is for ${formatPlatform(is)}, not for ${wanted === undefined ? 'linux' : formatPlatform(wanted)}`);
  }
  return parsed;
}
