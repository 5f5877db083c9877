import { TemplatefsError } from '../core/errors.js';
import { formatImageConfig, parseImageConfig, type ImageConfig } from '../core/image-config.js';
import { formatKeyValues, parseKeyValues, type KeyValueLine } from '../core/key-value-text.js';
import { parseSharedPaths, sharedPathValues, type SharedPaths } from '../core/shared-paths.js';
import { readTextFile } from './read-text-file.js';
import type { TemplateRecord } from './records.js';

const MAGIC = 'templatefs-template';

/** `templates/<name>`: docs/formats/catalog.md. What the catalog holds of it, and what only a mount asks for. */
export interface TemplateFile extends TemplateRecord {
  /** null: what the store says. */
  readonly shared: SharedPaths | null;
  /** How the image that it was made from wants to be started, if it was one. */
  readonly image?: ImageConfig;
}

/** The text of a template file. */
export function formatTemplateFile(template: TemplateFile): string {
  const lines: KeyValueLine[] = [
    { key: MAGIC, value: '1' },
    { key: 'name', value: template.name },
    { key: 'version', value: String(template.version) },
    { key: 'tree', value: template.tree },
    { key: 'files', value: String(template.files) },
    { key: 'bytes', value: String(template.bytes) },
    { key: 'created', value: template.created },
    { key: 'source', value: template.source },
  ];
  for (const path of sharedPathValues(template.shared)) lines.push({ key: 'shared', value: path });
  if (template.definition !== null) lines.push({ key: 'definition', value: template.definition });
  if (template.image !== undefined) lines.push({ key: 'image', value: JSON.stringify(formatImageConfig(template.image)) });
  return formatKeyValues(lines);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function parseImage(text: string, refuse: (why: string) => TemplatefsError): ImageConfig {
  try {
    return parseImageConfig(JSON.parse(text));
  } catch {
    throw refuse('no valid line for image');
  }
}

/** Reads the text of a template file; `file` is named in errors. @throws INTEGRITY */
export function parseTemplateFile(text: string, file: string): TemplateFile {
  const lines = parseKeyValues(text, { file, errorCode: 'INTEGRITY' });
  const refuse = (why: string): TemplatefsError => new TemplatefsError('INTEGRITY', `${file}: ${why}`);
  const first = lines.shift();
  if (first?.key !== MAGIC) throw refuse('not a template record');
  if (first.value !== '1') throw refuse(`version ${first.value}; this templatefs knows version 1`);
  const values = new Map(lines.map(({ key, value }) => [key, value]));
  const required = (key: string, pattern: RegExp): string => {
    const value = values.get(key);
    if (value === undefined || !pattern.test(value)) throw refuse(`no valid line for ${key}`);
    return value;
  };
  const sharedValues = lines.filter(({ key }) => key === 'shared').map(({ value }) => value);
  const shared = sharedValues.length === 0 ? null : parseSharedPaths(sharedValues);
  if (shared === undefined) throw refuse('a line for shared has no absolute path');
  const definition = values.get('definition') ?? null;
  if (definition !== null && !isJson(definition)) throw refuse('no valid line for definition');
  const image = values.get('image');
  return {
    name: required('name', /./),
    version: Number(required('version', /^[1-9]\d{0,14}$/)),
    tree: required('tree', /^[0-9a-f]{64}$/),
    files: Number(required('files', /^\d{1,15}$/)),
    bytes: Number(required('bytes', /^\d{1,16}$/)),
    created: required('created', /./),
    source: required('source', /./),
    definition,
    shared,
    ...(image !== undefined && { image: parseImage(image, refuse) }),
  };
}

/** Reads and checks the template file at `path`. @returns undefined if there is none @throws INTEGRITY */
export function readTemplateFile(path: string): TemplateFile | undefined {
  const text = readTextFile(path);
  return text === undefined ? undefined : parseTemplateFile(text, path);
}
