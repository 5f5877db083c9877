import { createReadStream } from 'node:fs';
import { decompress } from '../../store/decompress.js';
import { childOf, readXml } from '../xml.js';
import { brokenRepository, checkHref } from './repomd.js';

/** A package as signed metadata describes it. */
export interface OfferedPackage {
  /** `name-[epoch:]version-release.arch`: see {@link packageId}. */
  readonly id: string;
  /** Below the repository. */
  readonly href: string;
  /** In hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface PackageIdParts {
  readonly name: string;
  /** None and 0 are the same. */
  readonly epoch?: string | undefined;
  readonly version: string;
  readonly release: string;
  readonly architecture: string;
}

/** The one spelling of what identifies a package; an epoch of 0 is left out. */
export function packageId({ name, epoch = '0', version, release, architecture }: PackageIdParts): string {
  return `${name}-${epoch === '0' || epoch === '' ? '' : `${epoch}:`}${version}-${release}.${architecture}`;
}

const END = '</package>';

/** The text of each `<package>`, one at a time: lists of distributions have hundreds of megabytes. */
async function* packageTexts(file: string): AsyncGenerator<string> {
  let rest = '';
  const text = new TextDecoder('utf-8');
  for await (const piece of decompress(createReadStream(file, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>)) {
    rest += text.decode(piece, { stream: true });
    for (let end = rest.indexOf(END); end >= 0; end = rest.indexOf(END)) {
      const start = rest.indexOf('<package ');
      if (start >= 0 && start < end) yield rest.slice(start, end + END.length);
      rest = rest.slice(end + END.length);
    }
  }
}

/**
 * Looks packages up in a repository's list.
 *
 * @param primary the file, as it was downloaded and checked
 * @param what names the repository in errors
 * @returns those of `wanted` that there are, by their ids
 * @throws INTEGRITY for an entry that leads out of the repository, or has no SHA-256
 */
export async function findInPrimary(primary: string, wanted: ReadonlySet<string>, what: string): Promise<Map<string, OfferedPackage>> {
  const names = new Set([...wanted].map((id) => id.replace(/-[^-]+-[^-]+$/, '')));
  const found = new Map<string, OfferedPackage>();
  for await (const text of packageTexts(primary)) {
    // Reading all of the XML is what takes the time.
    const name = /<name>([^<]*)<\/name>/.exec(text)?.[1] ?? '';
    if (!names.has(name)) continue;
    const element = readXml(text, what);
    const version = childOf(element, 'version')?.attributes ?? {};
    const id = packageId({ name, epoch: version['epoch'], version: version['ver'] ?? '', release: version['rel'] ?? '', architecture: childOf(element, 'arch')?.text ?? '' });
    if (!wanted.has(id) || found.has(id)) continue;
    const checksum = childOf(element, 'checksum');
    const sha256 = checksum?.text.trim() ?? '';
    if (checksum?.attributes['type'] !== 'sha256' || !/^[0-9a-f]{64}$/.test(sha256)) throw brokenRepository(what, `it gives no SHA-256 of ${id}`);
    const location = childOf(element, 'location')?.attributes ?? {};
    if (location['xml:base'] !== undefined) throw brokenRepository(what, `${id} lies in another repository, which is not supported`);
    found.set(id, {
      id, sha256,
      href: checkHref(location['href'] ?? '', what),
      sizeBytes: Number(childOf(element, 'size')?.attributes['package'] ?? 0),
    });
  }
  return found;
}
