import { TemplatefsError } from '../../core/errors.js';
import { childOf, readXml } from '../xml.js';

/** One `<data>` of repomd.xml. */
export interface MetadataFile {
  readonly type: string;
  /** Below the repository. */
  readonly href: string;
  readonly algorithm: string;
  readonly sum: string;
}

/** What no resolver needs, or what is there a second time in another form. */
const NOT_NEEDED = /^(other|.*_db|.*_zck|prestodelta|deltainfo|appdata.*|appstream.*|filelists-ext|productid)$/;
const SUM_LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

export function brokenRepository(what: string, problem: string): TemplatefsError {
  return new TemplatefsError('INTEGRITY', `${what}: ${problem}`, { hint: 'the mirror is broken, in the middle of an update, or was tampered with: try again later, or name another mirror' });
}

/** A path below the repository, as its metadata give it. @throws INTEGRITY for one that leads elsewhere */
export function checkHref(href: string, what: string): string {
  const parts = href.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..') || !/^[A-Za-z0-9._+~^%:/-]+$/.test(href)) throw brokenRepository(what, `it names a file outside of the repository: ${JSON.stringify(href)}`);
  return href;
}

/** @throws INTEGRITY for a sum that proves nothing */
export function checkSum(algorithm: string, sum: string, what: string): void {
  if (SUM_LENGTHS[algorithm] !== sum.length || !/^[0-9a-f]+$/.test(sum)) throw brokenRepository(what, `its sums are not SHA-256 or better (${algorithm})`);
}

/** repomd.xml, as far as a resolver needs it. */
export interface Repomd {
  readonly files: readonly MetadataFile[];
  readonly primary: MetadataFile;
  /** When the repository was written, in seconds since 1970; 0 when it does not say. */
  readonly timestamp: number;
  /** The document, without what no resolver needs. */
  readonly text: string;
}

/** Reads a repomd.xml whose signature was checked. @throws INTEGRITY */
export function readRepomd(text: string, what: string): Repomd {
  const root = readXml(text, what);
  if (root.name !== 'repomd') throw brokenRepository(what, 'it is no list of metadata');
  const files = root.children
    .filter(({ name, attributes }) => name === 'data' && !NOT_NEEDED.test(attributes['type'] ?? ''))
    .map((data) => {
      const checksum = childOf(data, 'checksum');
      const file = {
        type: data.attributes['type'] ?? '',
        href: checkHref(childOf(data, 'location')?.attributes['href'] ?? '', what),
        algorithm: checksum?.attributes['type'] ?? '',
        sum: checksum?.text.trim() ?? '',
      };
      checkSum(file.algorithm, file.sum, what);
      return file;
    });
  const primary = files.find(({ type }) => type === 'primary');
  if (primary === undefined) throw brokenRepository(what, 'it names no list of packages');
  const timestamps = root.children.map((data) => Number(childOf(data, 'timestamp')?.text ?? 0)).filter((time) => time > 0);
  return {
    files, primary,
    timestamp: Math.max(0, ...timestamps),
    text: text.replace(/<data\b[^>]*\btype=["']([^"']*)["'][^>]*>[\s\S]*?<\/data>/g, (whole, type: string) => (NOT_NEEDED.test(type) ? '' : whole)),
  };
}
