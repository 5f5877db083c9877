import { TemplatefsError } from '../core/errors.js';
import { parseKeyValues } from '../core/key-value-text.js';
import { parseLinkSettings, type LinkSettings } from '../core/link-policy.js';
import { parseSharedPaths, type SharedPaths } from '../core/shared-paths.js';
import { readTextFile } from './read-text-file.js';

const MAGIC = 'templatefs-store';
const HINT = 'mend the file (docs/formats/store-config.md), or remove it: then the built-in settings hold';

/** `config` in the store: docs/formats/store-config.md. It is written by whoever runs the store, never by templatefs. */
export interface StoreConfig {
  /** null: the built-in ones. */
  readonly shared: SharedPaths | null;
  /** Which files merging makes links of. */
  readonly link: LinkSettings;
}

/** Reads and checks the store's config; without a file the built-in settings hold. @throws INTEGRITY */
export function readStoreConfig(path: string): StoreConfig {
  const text = readTextFile(path);
  if (text === undefined) return { shared: null, link: {} };
  const lines = parseKeyValues(text, { file: path, errorCode: 'INTEGRITY', hint: HINT });
  const first = lines.shift();
  if (first?.key !== MAGIC || first.value !== '1') throw new TemplatefsError('INTEGRITY', `${path}: its first line is not "${MAGIC} 1"`, { hint: HINT });
  const values = lines.filter(({ key }) => key === 'shared').map(({ value }) => value);
  const link = parseLinkSettings(lines);
  if (typeof link === 'string') throw new TemplatefsError('INTEGRITY', `${path}: ${link}`, { hint: HINT });
  if (values.length === 0) return { shared: null, link };
  const shared = parseSharedPaths(values);
  if (shared === undefined) throw new TemplatefsError('INTEGRITY', `${path}: a line for shared has no absolute path`, { hint: HINT });
  return { shared, link };
}
