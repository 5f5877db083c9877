import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

export const sha256 = (bytes: Buffer | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export const INDEX = 'application/vnd.oci.image.index.v1+json';
export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const CONFIG = 'application/vnd.oci.image.config.v1+json';
export const LAYER = 'application/vnd.oci.image.layer.v1.tar';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Writes OCI image layouts, also such as no program would write. */
export class LayoutBuilder {
  readonly folder: string;
  readonly manifests: object[] = [];

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
    this.file('oci-layout', { imageLayoutVersion: '1.0.0' });
  }

  file(name: string, json: unknown): void {
    writeFileSync(join(this.folder, name), JSON.stringify(json));
  }

  blob(content: Buffer | string, mediaType: string): Descriptor {
    const bytes = Buffer.from(content);
    const digest = sha256(bytes);
    writeFileSync(this.blobPath(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  }

  blobPath(digest: string): string {
    return join(this.folder, 'blobs/sha256', digest.slice('sha256:'.length));
  }

  json(json: unknown, mediaType: string): Descriptor {
    return this.blob(JSON.stringify(json), mediaType);
  }

  /** A manifest with its configuration and layers (plain tars; stored with gzip). */
  image(layers: readonly Buffer[], config: object = {}, more: object = {}): Descriptor {
    const blobs = layers.map((layer) => this.blob(gzipSync(layer), `${LAYER}+gzip`));
    const configBlob = this.json({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: layers.map(sha256) }, ...config }, CONFIG);
    return this.json({ schemaVersion: 2, mediaType: MANIFEST, config: configBlob, layers: blobs, ...more }, MANIFEST);
  }

  /** Puts a manifest or an index into index.json. */
  add(descriptor: Descriptor, name?: string, more: object = {}): void {
    this.manifests.push({ ...descriptor, ...(name !== undefined && { annotations: { 'org.opencontainers.image.ref.name': name } }), ...more });
    this.file('index.json', { schemaVersion: 2, manifests: this.manifests });
  }
}
