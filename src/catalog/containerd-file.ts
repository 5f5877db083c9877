import { TemplatefsError } from '../core/errors.js';
import { formatKeyValues, parseKeyValues, type KeyValueLine } from '../core/key-value-text.js';
import { readTextFile } from './read-text-file.js';

const MAGIC = 'templatefs-containerd';
const HINT = 'containerd would take it for gone: restore the file from a backup of the store';
const KINDS = ['active', 'view', 'committed'] as const;

export type ContainerdKind = (typeof KINDS)[number];

/** A moment as containerd keeps it. */
export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/**
 * `containerd/<id>`: one snapshot that containerd lists, docs/snapshotter.md. The container `containerd-<id>` holds an active one or a
 * view, the template `containerd-<id>` a committed one.
 */
export interface ContainerdFile {
  readonly id: number;
  readonly kind: ContainerdKind;
  /** containerd's name of it. */
  readonly key: string;
  /** The key of its parent; empty for none. */
  readonly parent: string;
  readonly created: Moment;
  readonly updated: Moment;
  readonly labels: ReadonlyMap<string, string>;
  /** What it has changed, as counted at its commit; 0 until then. */
  readonly usageBytes: number;
  readonly usageInodes: number;
}

export function formatContainerdFile(record: ContainerdFile): string {
  const lines: KeyValueLine[] = [
    { key: MAGIC, value: '1' },
    { key: 'kind', value: record.kind },
    { key: 'key', value: record.key },
    { key: 'parent', value: record.parent },
    { key: 'created', value: formatMoment(record.created) },
    { key: 'updated', value: formatMoment(record.updated) },
    { key: 'usage', value: `${record.usageBytes} ${record.usageInodes}` },
  ];
  // JSON: names of labels may hold any character.
  for (const label of record.labels) lines.push({ key: 'label', value: JSON.stringify(label) });
  return formatKeyValues(lines);
}

function formatMoment({ seconds, nanoseconds }: Moment): string {
  return `${seconds}.${String(nanoseconds).padStart(9, '0')}`;
}

/** Reads the text of a record; `file` is named in errors. @throws INTEGRITY */
export function parseContainerdFile(text: string, id: number, file: string): ContainerdFile {
  const lines = parseKeyValues(text, { file, errorCode: 'INTEGRITY', hint: HINT });
  const refuse = (why: string): TemplatefsError => new TemplatefsError('INTEGRITY', `${file}: ${why}`, { hint: HINT });
  const first = lines.shift();
  if (first?.key !== MAGIC) throw refuse('not a record of a snapshot of containerd');
  if (first.value !== '1') throw refuse(`version ${first.value}; this templatefs knows version 1`);
  const single = new Map(lines.map(({ key, value }) => [key, value]));
  const required = (key: string): string => {
    const value = single.get(key);
    if (value === undefined) throw refuse(`no line for ${key}`);
    return value;
  };
  const moment = (key: string): Moment => {
    const match = /^(\d{1,12})\.(\d{9})$/.exec(required(key));
    if (match === null) throw refuse(`${key} is no time`);
    return { seconds: Number(match[1]), nanoseconds: Number(match[2]) };
  };
  const kind = KINDS.find((known) => known === required('kind'));
  if (kind === undefined) throw refuse('unknown kind');
  const key = required('key');
  if (key === '') throw refuse('its key is empty');
  const usage = /^(\d{1,15}) (\d{1,15})$/.exec(required('usage'));
  if (usage === null) throw refuse('usage is not two numbers');
  const labels = lines.filter(({ key: name }) => name === 'label').map(({ value }) => parseLabel(value, refuse));
  return {
    id, kind, key, parent: required('parent'), created: moment('created'), updated: moment('updated'), labels: new Map(labels),
    usageBytes: Number(usage[1]), usageInodes: Number(usage[2]),
  };
}

function parseLabel(text: string, refuse: (why: string) => TemplatefsError): [string, string] {
  let pair: unknown;
  try {
    pair = JSON.parse(text);
  } catch {
    throw refuse('a label is no JSON');
  }
  if (!Array.isArray(pair) || pair.length !== 2) throw refuse('a label is no pair');
  const [name, value] = pair as unknown[];
  if (typeof name !== 'string' || typeof value !== 'string') throw refuse('a label is no pair of texts');
  return [name, value];
}

/** Reads and checks a record. @returns undefined if there is none @throws INTEGRITY */
export function readContainerdFile(path: string, id: number): ContainerdFile | undefined {
  const text = readTextFile(path);
  return text === undefined ? undefined : parseContainerdFile(text, id, path);
}
