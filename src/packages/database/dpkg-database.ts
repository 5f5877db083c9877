import { parseParagraph } from '../apt/control-paragraphs.js';
import type { InstalledPackage } from '../package-manager.js';
import type { DatabaseFiles, PackageDatabase } from './package-database.js';

const FOLDER = '/var/lib/dpkg';
const MOST_STATUS_BYTES = 256 << 20;
const MOST_LIST_BYTES = 64 << 20;
/** What dpkg calls a package, and an architecture. */
const NAME = /^[a-z0-9][a-z0-9+.-]{0,127}$/;
const VERSION = /^[0-9A-Za-z.+:~^-]{1,255}$/;
/** States of a package that has no files, or not any more. */
const ABSENT = new Set(['not-installed', 'config-files']);

/** A package of one paragraph; undefined for one that is not there, or that is none. */
function parsePackage(text: string, needsStatus: boolean): InstalledPackage | undefined {
  const fields = parseParagraph(text);
  const [name, version, architecture] = ['Package', 'Version', 'Architecture'].map((field) => fields.get(field) ?? '');
  const state = fields.get('Status')?.split(' ')[2];
  if (needsStatus ? state === undefined || ABSENT.has(state) : state !== undefined && ABSENT.has(state)) return undefined;
  if (name === undefined || !NAME.test(name) || version === undefined || !VERSION.test(version)) return undefined;
  return { name, version, architecture: architecture !== undefined && NAME.test(architecture) ? architecture : 'unknown' };
}

/** Packages of the text of a status file. */
export function parseDpkgStatus(text: string): InstalledPackage[] {
  return text.split(/\n\n+/).flatMap((paragraph) => parsePackage(paragraph, true) ?? []);
}

/** dpkg's own database; that of an image without dpkg has a file for each package in `status.d` (distroless). */
export function openDpkgDatabase(files: DatabaseFiles): PackageDatabase | undefined {
  const status = files.read(`${FOLDER}/status`, MOST_STATUS_BYTES);
  const separate = files.names(`${FOLDER}/status.d`).filter((name) => !name.endsWith('.md5sums'));
  if (status === undefined && separate.length === 0) return undefined;
  const packages = [
    ...(status === undefined ? [] : parseDpkgStatus(status.toString('latin1'))),
    ...separate.flatMap((name) => parsePackage(files.read(`${FOLDER}/status.d/${name}`, MOST_LIST_BYTES)?.toString('latin1') ?? '', false) ?? []),
  ];
  return {
    rules: 'dpkg',
    packages,
    filesOf: ({ name, architecture }) => {
      const list = files.read(`${FOLDER}/info/${name}.list`, MOST_LIST_BYTES) ?? files.read(`${FOLDER}/info/${name}:${architecture}.list`, MOST_LIST_BYTES);
      return (list?.toString('latin1') ?? '').split('\n').filter((path) => path.startsWith('/') && path !== '/.');
    },
  };
}
