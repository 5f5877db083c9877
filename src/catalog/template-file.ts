import { readFileSync } from 'node:fs';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { formatKeyValues, parseKeyValues, type KeyValueLine } from '../core/key-value-text.js';
import type { TemplateRecord } from './records.js';

const MAGIC = 'templatefs-template';

/** The text of `templates/<name>`: docs/formats/catalog.md. */
export function formatTemplateFile(template: TemplateRecord): string {
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
  if (template.definition !== null) lines.push({ key: 'definition', value: template.definition });
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

/** Reads the text of a template file; `file` is named in errors. @throws INTEGRITY */
export function parseTemplateFile(text: string, file: string): TemplateRecord {
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
  const definition = values.get('definition') ?? null;
  if (definition !== null && !isJson(definition)) throw refuse('no valid line for definition');
  return {
    name: required('name', /./),
    version: Number(required('version', /^[1-9]\d{0,14}$/)),
    tree: required('tree', /^[0-9a-f]{64}$/),
    files: Number(required('files', /^\d{1,15}$/)),
    bytes: Number(required('bytes', /^\d{1,16}$/)),
    created: required('created', /./),
    source: required('source', /./),
    definition,
  };
}

/** Reads and checks the template file at `path`. @returns undefined if there is none @throws INTEGRITY */
export function readTemplateFile(path: string): TemplateRecord | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  return parseTemplateFile(text, path);
}
