import { TemplatefsError } from '../core/errors.js';
import { formatKeyValues, parseKeyValues } from '../core/key-value-text.js';
import { readTextFile } from './read-text-file.js';

const MAGIC = 'templatefs-snapshot';

/** `private/.snapshots/<ct>/<id>/snapshot`: docs/snapshots.md. What tells a snapshot from the private area that it is a copy of. */
export interface SnapshotFile {
  readonly container: string;
  readonly id: string;
  /** ISO 8601. */
  readonly created: string;
  /** `user` for one that somebody asked for; else the command that needed it. */
  readonly purpose: string;
  readonly comment: string | null;
  /** Whether the container was mounted while it was taken. */
  readonly mounted: boolean;
  /** Names in it; inodes whose content is an object, or their own; and bytes of the latter. */
  readonly entries: number;
  readonly links: number;
  readonly files: number;
  readonly bytes: number;
}

export function formatSnapshotFile(snapshot: SnapshotFile): string {
  return formatKeyValues([
    { key: MAGIC, value: '1' },
    { key: 'container', value: snapshot.container },
    { key: 'id', value: snapshot.id },
    { key: 'created', value: snapshot.created },
    { key: 'purpose', value: snapshot.purpose },
    ...(snapshot.comment === null ? [] : [{ key: 'comment', value: snapshot.comment }]),
    { key: 'mounted', value: snapshot.mounted ? 'yes' : 'no' },
    { key: 'entries', value: String(snapshot.entries) },
    { key: 'links', value: String(snapshot.links) },
    { key: 'files', value: String(snapshot.files) },
    { key: 'bytes', value: String(snapshot.bytes) },
  ]);
}

/** @throws INTEGRITY */
export function parseSnapshotFile(text: string, file: string): SnapshotFile {
  const lines = parseKeyValues(text, { file, errorCode: 'INTEGRITY' });
  const first = lines.shift();
  const refuse = (why: string): TemplatefsError =>
    new TemplatefsError('INTEGRITY', `${file}: ${why}`, { hint: 'remove the snapshot with `templatefs snapshot remove`' });
  if (first?.key !== MAGIC || first.value !== '1') throw refuse(`its first line is not "${MAGIC} 1"`);
  const values = new Map(lines.map(({ key, value }) => [key, value]));
  const required = (key: string, pattern = /./): string => {
    const value = values.get(key);
    if (value === undefined || !pattern.test(value)) throw refuse(`no valid line for ${key}`);
    return value;
  };
  const number = (key: string): number => Number(required(key, /^\d{1,15}$/));
  return {
    container: required('container'),
    id: required('id'),
    created: required('created'),
    purpose: required('purpose'),
    comment: values.get('comment') ?? null,
    mounted: required('mounted', /^(?:yes|no)$/) === 'yes',
    entries: number('entries'),
    links: number('links'),
    files: number('files'),
    bytes: number('bytes'),
  };
}

/** @returns undefined if there is none @throws INTEGRITY */
export function readSnapshotFile(path: string): SnapshotFile | undefined {
  const text = readTextFile(path);
  return text === undefined ? undefined : parseSnapshotFile(text, path);
}
