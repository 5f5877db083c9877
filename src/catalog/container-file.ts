import { readFileSync } from 'node:fs';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { formatKeyValues, parseKeyValues, type KeyValueLine } from '../core/key-value-text.js';

const MAGIC = 'templatefs-container';
const HINT = 'run `templatefs verify` to see what else is wrong; the file can be restored from a backup of the store';

/** `private/<ct>/container`: docs/formats/private-area.md. */
export interface ContainerFile {
  readonly name: string;
  readonly template: string;
  readonly tree: string;
  readonly created: string;
  /** Paths whose template files are served by passthrough; empty means the engine's default. */
  readonly shared: readonly string[];
  readonly quotaSizeBytes?: number;
  readonly quotaInodes?: number;
  /** Lines that this version does not know, in their order. */
  readonly other: readonly KeyValueLine[];
}

/** The text of a container file. */
export function formatContainerFile(container: ContainerFile): string {
  const lines: KeyValueLine[] = [
    { key: MAGIC, value: '1' },
    { key: 'name', value: container.name },
    { key: 'template', value: container.template },
    { key: 'tree', value: container.tree },
    { key: 'created', value: container.created },
  ];
  for (const path of container.shared) lines.push({ key: 'shared', value: path });
  if (container.quotaSizeBytes !== undefined) lines.push({ key: 'quota-size', value: String(container.quotaSizeBytes) });
  if (container.quotaInodes !== undefined) lines.push({ key: 'quota-inodes', value: String(container.quotaInodes) });
  lines.push(...container.other);
  return formatKeyValues(lines);
}

/** Reads the text of a container file; `file` is named in errors. @throws INTEGRITY */
export function parseContainerFile(text: string, file: string): ContainerFile {
  const lines = parseKeyValues(text, { file, errorCode: 'INTEGRITY', hint: HINT });
  const refuse = (why: string): TemplatefsError => new TemplatefsError('INTEGRITY', `${file}: ${why}`, { hint: HINT });
  const first = lines.shift();
  if (first?.key !== MAGIC) throw refuse('not a container file');
  if (first.value !== '1') throw refuse(`version ${first.value}; this templatefs knows version 1`);

  const single = new Map<string, string>();
  const shared: string[] = [];
  const other: KeyValueLine[] = [];
  for (const line of lines) {
    if (line.key === 'shared') shared.push(line.value);
    else if (!KNOWN.has(line.key)) other.push(line);
    else if (single.has(line.key)) throw refuse(`two lines for ${line.key}`);
    else single.set(line.key, line.value);
  }
  const required = (key: string): string => {
    const value = single.get(key);
    if (value === undefined || value === '') throw refuse(`no line for ${key}`);
    return value;
  };
  const number = (key: string): number | undefined => {
    const value = single.get(key);
    if (value === undefined) return undefined;
    if (!/^\d{1,15}$/.test(value)) throw refuse(`${key} is no number`);
    return Number(value);
  };
  const tree = required('tree');
  if (!/^[0-9a-f]{64}$/.test(tree)) throw refuse('tree is no digest');
  const quotaSizeBytes = number('quota-size');
  const quotaInodes = number('quota-inodes');
  return {
    name: required('name'),
    template: required('template'),
    tree,
    created: required('created'),
    shared,
    ...(quotaSizeBytes !== undefined && { quotaSizeBytes }),
    ...(quotaInodes !== undefined && { quotaInodes }),
    other,
  };
}

const KNOWN = new Set(['name', 'template', 'tree', 'created', 'quota-size', 'quota-inodes']);

/** Reads and checks the container file at `path`. @returns undefined if there is none @throws INTEGRITY */
export function readContainerFile(path: string): ContainerFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
  return parseContainerFile(text, path);
}
