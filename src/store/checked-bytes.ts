import { createHash } from 'node:crypto';
import { TemplatefsError } from '../core/errors.js';

/** What bytes from outside have to be. */
export interface ExpectedBytes {
  /** `sha256:…` or `sha512:…`, as {@link parseDigest} takes it. */
  readonly digest: string;
  readonly sizeBytes?: number;
}

/** Splits a digest of image-spec. @returns undefined for an algorithm that we do not know, and for what is no digest */
export function parseDigest(digest: string): { readonly algorithm: 'sha256' | 'sha512'; readonly hex: string } | undefined {
  const match = /^(?:(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128}))$/.exec(digest);
  if (match === null) return undefined;
  return match[1] === undefined ? { algorithm: 'sha512', hex: match[4] ?? '' } : { algorithm: 'sha256', hex: match[2] ?? '' };
}

export function badImage(message: string, cause?: unknown): TemplatefsError {
  return new TemplatefsError('BAD_ARCHIVE', `bad image: ${message}`, {
    hint: 'nothing was imported; copy the image again (skopeo copy), or check where it comes from',
    cause,
  });
}

/**
 * Passes bytes on and makes sure of them: more than `sizeBytes` end it at once, fewer or others at the end. So whoever uses
 * them before the end must be able to take that back. @param what names them in errors @throws BAD_ARCHIVE
 */
export async function* checkedBytes(source: AsyncIterable<Buffer>, { digest, sizeBytes }: ExpectedBytes, what: string): AsyncGenerator<Buffer> {
  const parsed = parseDigest(digest);
  if (parsed === undefined) throw badImage(`${what}: not a digest that is known: ${JSON.stringify(digest)}`);
  const hash = createHash(parsed.algorithm);
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (sizeBytes !== undefined && bytes > sizeBytes) throw badImage(`${what} has more than the ${sizeBytes} bytes that its descriptor says`);
    hash.update(chunk);
    yield chunk;
  }
  if (sizeBytes !== undefined && bytes < sizeBytes) throw badImage(`${what} has ${bytes} bytes; its descriptor says ${sizeBytes}`);
  if (hash.digest('hex') !== parsed.hex) throw badImage(`${what} is not what its digest says: ${digest}`);
}
