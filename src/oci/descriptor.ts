import { badImage, checkedBytes, parseDigest } from '../store/checked-bytes.js';
import type { ImageFiles } from './image-files.js';
import { parsePlatform, type Platform } from './platform.js';

/** What image-spec calls a descriptor: a blob's type, digest and size. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly platform: Platform | undefined;
  readonly annotations: Readonly<Record<string, unknown>>;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** image-spec asks registries to take manifests of 4 MiB; configurations grow with an image's history. */
const MAX_JSON_BYTES = 8 << 20;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param what names it in errors @throws BAD_ARCHIVE */
export function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isJsonObject(value)) throw badImage(`${what} is no descriptor`);
  const { mediaType, digest, size, platform, annotations } = value;
  if (typeof digest !== 'string' || parseDigest(digest) === undefined) throw badImage(`${what} has no digest of sha256 or sha512`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw badImage(`${what} has no size`);
  return {
    mediaType: typeof mediaType === 'string' ? mediaType : '',
    digest,
    sizeBytes: size,
    platform: parsePlatform(platform),
    annotations: isJsonObject(annotations) ? annotations : {},
  };
}

export function blobPath(digest: string): string {
  const parsed = parseDigest(digest);
  if (parsed === undefined) throw badImage(`not a digest that is known: ${JSON.stringify(digest)}`);
  return `blobs/${parsed.algorithm}/${parsed.hex}`;
}

/** A blob's bytes, which are checked while they are read. @throws BAD_ARCHIVE */
export async function* readBlob(files: ImageFiles, { digest, sizeBytes }: Pick<Descriptor, 'digest' | 'sizeBytes'>): AsyncGenerator<Buffer> {
  const bytes = await files.read(blobPath(digest));
  if (bytes === undefined) throw badImage(`the blob ${digest} is missing in ${files.place}`);
  yield* checkedBytes(bytes, { digest, sizeBytes }, `blob ${digest}`);
}

/** Reads a small JSON file. @throws BAD_ARCHIVE */
export async function readJson(bytes: AsyncIterable<Buffer>, what: string): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > MAX_JSON_BYTES) throw badImage(`${what} has more than ${MAX_JSON_BYTES} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch (error) {
    throw badImage(`${what} is no JSON`, error);
  }
}
