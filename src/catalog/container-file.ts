import { TemplatefsError } from '../core/errors.js';
import { formatIdRange, idMapProblem, parseIdRange, type IdMaps, type IdRange } from '../core/id-map.js';
import { formatKeyValues, parseKeyValues, type KeyValueLine } from '../core/key-value-text.js';
import { parseSharedPaths, sharedPathValues, type SharedPaths } from '../core/shared-paths.js';
import { readTextFile } from './read-text-file.js';

const MAGIC = 'templatefs-container';
const HINT = 'run `templatefs verify` to see what else is wrong; the file can be restored from a backup of the store';

/** `private/<ct>/container`: docs/formats/private-area.md. */
export interface ContainerFile {
  readonly name: string;
  readonly template: string;
  readonly tree: string;
  readonly created: string;
  /** null: what the template says. */
  readonly shared: SharedPaths | null;
  /** How ids are shown on the host; null: as they are. */
  readonly ids: IdMaps | null;
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
  for (const path of sharedPathValues(container.shared)) lines.push({ key: 'shared', value: path });
  for (const range of container.ids?.uids ?? []) lines.push({ key: 'uid-map', value: formatIdRange(range, ' ') });
  for (const range of container.ids?.gids ?? []) lines.push({ key: 'gid-map', value: formatIdRange(range, ' ') });
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
  const lists = new Map<string, string[]>([['shared', []], ['uid-map', []], ['gid-map', []]]);
  const other: KeyValueLine[] = [];
  for (const line of lines) {
    const list = lists.get(line.key);
    if (list !== undefined) list.push(line.value);
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
  const values = (key: string): readonly string[] => lists.get(key) ?? [];
  const shared = values('shared').length === 0 ? null : parseSharedPaths(values('shared'));
  if (shared === undefined) throw refuse('a line for shared has no absolute path');
  const ranges = (key: string): IdRange[] => {
    const found = values(key).flatMap((value) => parseIdRange(value) ?? []);
    if (found.length !== values(key).length || idMapProblem(found) !== undefined) throw refuse(`the lines for ${key} are no map of ids`);
    return found;
  };
  const [uids, gids] = [ranges('uid-map'), ranges('gid-map')];
  if ((uids.length === 0) !== (gids.length === 0)) throw refuse('there are maps for users or for groups, not for both');
  const quotaSizeBytes = number('quota-size');
  const quotaInodes = number('quota-inodes');
  return {
    name: required('name'),
    template: required('template'),
    tree,
    created: required('created'),
    shared,
    ids: uids.length === 0 ? null : { uids, gids },
    ...(quotaSizeBytes !== undefined && { quotaSizeBytes }),
    ...(quotaInodes !== undefined && { quotaInodes }),
    other,
  };
}

const KNOWN = new Set(['name', 'template', 'tree', 'created', 'quota-size', 'quota-inodes']);

/** Reads and checks the container file at `path`. @returns undefined if there is none @throws INTEGRITY */
export function readContainerFile(path: string): ContainerFile | undefined {
  const text = readTextFile(path);
  return text === undefined ? undefined : parseContainerFile(text, path);
}
