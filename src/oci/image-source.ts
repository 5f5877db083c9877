import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { TemplatefsError } from '../core/errors.js';

/** Where an image comes from, as skopeo and podman name it. */
export type ImageSource =
  | { readonly transport: 'oci' | 'oci-archive' | 'docker-archive'; readonly path: string; readonly reference?: string }
  | { readonly transport: 'docker'; readonly reference: string };

const TRANSPORT = /^(oci|oci-archive|docker-archive):(?!\/\/)(.+)$/s;

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * Reads `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]` and `docker://REFERENCE`.
 * @returns undefined for anything else, which is a path @throws USAGE
 */
export function parseImageSource(source: string): ImageSource | undefined {
  if (source.startsWith('docker://')) return { transport: 'docker', reference: source.slice('docker://'.length) };
  const match = TRANSPORT.exec(source);
  const [, transport, rest] = match ?? [];
  if (rest === undefined || (transport !== 'oci' && transport !== 'oci-archive' && transport !== 'docker-archive')) return undefined;
  // A colon may stand in a path as well as in a reference: the longest path that is there counts.
  let path = rest;
  while (!isThere(path)) {
    const at = Math.max(path.lastIndexOf(':'), path.lastIndexOf('@'));
    if (at <= 0) {
      throw new TemplatefsError('FAILED', `cannot read ${rest.replace(/(.):.*$/s, '$1')}: ENOENT`, { hint: `write ${transport}:PATH, or ${transport}:PATH:REFERENCE` });
    }
    path = path.slice(0, at);
  }
  const more = rest.slice(path.length);
  const reference = more.startsWith(':') ? more.slice(1) : more;
  return { transport, path: resolve(path), ...(reference !== '' && { reference }) };
}

export function formatImageSource(source: ImageSource): string {
  if (source.transport === 'docker') return `docker://${source.reference}`;
  return `${source.transport}:${source.path}${source.reference === undefined ? '' : source.reference.startsWith('@') ? source.reference : `:${source.reference}`}`;
}
