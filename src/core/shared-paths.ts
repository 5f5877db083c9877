import { TemplatefsError } from './errors.js';

/**
 * Folders whose template files are served by passthrough from one page cache for all containers. A program that changes
 * such a file in place is not seen by those who have it open; so what is changed in place belongs elsewhere.
 * Empty: no folder, all template files can be changed under their readers.
 */
export type SharedPaths = readonly string[];

/** What holds when nobody says otherwise; the engine has the same list (native/private/settings.cc). */
export const DEFAULT_SHARED_PATHS: SharedPaths = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32', '/opt'];

/** Stands in files and options for "no path". */
export const NO_SHARED_PATH = 'none';

/** Whether a text is an absolute path without `.`, `..`, and doubled slashes. */
export function isSharedPath(text: string): boolean {
  return text.startsWith('/') && !text.includes('\0') && text.split('/').every((name, index, all) =>
    name !== '.' && name !== '..' && (name !== '' || index === 0 || index === all.length - 1));
}

/** Makes a list of paths, or of `none` alone. @returns undefined when a text is neither */
export function parseSharedPaths(texts: readonly string[]): SharedPaths | undefined {
  if (texts.length === 1 && texts[0] === NO_SHARED_PATH) return [];
  if (!texts.every(isSharedPath)) return undefined;
  return [...new Set(texts.map((text) => (text === '/' ? text : text.replace(/\/$/, ''))))];
}

/** Reads `--shared-path` options. @returns undefined when there are none @throws USAGE */
export function sharedPathsOption(texts: readonly string[] | undefined): SharedPaths | undefined {
  if (texts === undefined) return undefined;
  const paths = parseSharedPaths(texts);
  if (paths === undefined) {
    throw new TemplatefsError('USAGE', `not a list of shared paths: ${texts.join(' ')}`, {
      hint: 'give absolute paths as the container sees them, or none alone: --shared-path /usr --shared-path /opt',
    });
  }
  return paths;
}

/** The values of `shared` lines: what {@link parseSharedPaths} reads back. */
export function sharedPathValues(paths: SharedPaths | null): readonly string[] {
  if (paths === null) return [];
  return paths.length === 0 ? [NO_SHARED_PATH] : paths;
}
