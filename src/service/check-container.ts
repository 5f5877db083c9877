import { existsSync, lstatSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { readContainerFile } from '../catalog/container-file.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { objectPath, parseObjectId } from '../store/object-id.js';
import { printableName } from '../store/raw-names.js';
import type { ServiceContext } from './context.js';
import { isFinding, reason, type StoreProblem } from './store-problem.js';

/** So many paths are named one by one. */
const MAX_NAMED = 20;

export interface ContainerFindings {
  readonly problems: readonly StoreProblem[];
  /** Objects that it needs and that are missing or too short, with the path that needs each. */
  readonly lost: ReadonlyMap<string, string>;
  /** Entries whose node xattr cannot be read: `verify --repair` looks at them again. */
  readonly broken: number;
  /** What its private area holds; empty where that cannot be read. */
  readonly records: readonly ScanRecord[];
}

const NOTHING = { lost: new Map<string, string>(), broken: 0, records: [] };

/** What is wrong with links and entries, one line each, for comparing two scans. */
function faults(context: ServiceContext, records: readonly ScanRecord[]): { entries: Map<string, string>; lost: Map<string, string> } {
  const entries = new Map<string, string>();
  const lost = new Map<string, string>();
  for (const { kind, path, object, shownBytes, reason: why } of records) {
    if (kind === 'broken') entries.set(path, why ?? 'it cannot be read');
    if (object === null) continue;
    const id = parseObjectId(object);
    const stat = id === undefined ? undefined : lstatSync(objectPath(context.paths, id), { throwIfNoEntry: false });
    if (id === undefined) entries.set(path, `it names ${object}, which is no object`);
    else if (stat?.isFile() !== true) lost.set(object, path);
    else if (kind === 'link' && stat.size !== shownBytes) entries.set(path, `it shows ${shownBytes ?? 0} bytes of object ${object}, which has ${stat.size}`);
    else if (kind === 'partial' && stat.size < (shownBytes ?? 0)) entries.set(path, `it shows ${shownBytes ?? 0} bytes of object ${object}, which has only ${stat.size}`);
  }
  return { entries, lost };
}

function kept<Value>(first: Map<string, Value>, again: ReadonlyMap<string, Value>): Map<string, Value> {
  return new Map([...first].filter(([key]) => again.has(key)));
}

/** Whether one that is not there was removed since the list was made, or is being; if that was cut, the next command that writes ends it. */
function isRemoved({ paths }: ServiceContext, catalog: Catalog, name: string): boolean {
  if (name.includes('@')) return !existsSync(paths.privateArea(name));
  return catalog.journal().some(({ subject }) => subject === name) || catalog.container(name) === undefined;
}

/**
 * Checks one container, or a snapshot `CT@ID` as if it were one: its settings, its tree, and every entry of its private area. A container that is mounted changes
 * meanwhile: what a first look finds wrong counts only if a second finds it, too.
 *
 * @throws ENGINE_FAILED, INTERRUPTED
 */
export async function checkContainer(
  context: ServiceContext,
  catalog: Catalog,
  name: string,
  brokenTrees: ReadonlySet<string>,
): Promise<ContainerFindings> {
  const { paths, signal } = context;
  const [container = '', id] = name.split('@');
  const backup = id === undefined ? 'restore its private area from a backup, or destroy it' : `templatefs snapshot remove ${container} ${id}`;
  const kind = id === undefined ? 'container' : 'snapshot';
  const problem = (text: string, repair = backup): StoreProblem => ({ kind, name, problem: text, repair });
  try {
    const file = readContainerFile(paths.containerFile(name));
    if (file === undefined) {
      if (isRemoved(context, catalog, name)) return { problems: [], ...NOTHING };
      return { problems: [problem('its private area is missing', `restore it from a backup, or: templatefs destroy ${name}`)], ...NOTHING };
    }
    if (brokenTrees.has(file.tree)) return { problems: [problem(`its tree ${file.tree} is broken`, 'mend the tree')], ...NOTHING };
    const problems: StoreProblem[] = [];
    if (file.name !== container) problems.push(problem(`its file \`container\` names ${JSON.stringify(file.name)}`));
    if (!existsSync(paths.tree(file.tree))) return { problems: [...problems, problem(`its tree ${file.tree} is missing`, 'mend the tree')], ...NOTHING };
    let records = await scanPrivateArea(paths, name, signal, { keepGoing: true });
    let { entries, lost } = faults(context, records);
    if (entries.size + lost.size > 0) {
      records = await scanPrivateArea(paths, name, signal, { keepGoing: true });
      const again = faults(context, records);
      entries = kept(entries, again.entries);
      lost = kept(lost, again.lost);
    }
    const named = [...entries].slice(0, MAX_NAMED);
    const repair = id !== undefined ? `templatefs verify --repair; what that leaves: ${backup}` : `unmount it, then: templatefs verify --repair; what that leaves: remove the file in ${paths.privateArea(name)}/root, or restore it from a backup`;
    problems.push(...named.map(([path, why]) => problem(`${printableName(path)}: ${why}`, repair)));
    if (entries.size > named.length) problems.push(problem(`${entries.size - named.length} more entries are broken`, repair));
    const broken = records.filter(({ kind }) => kind === 'broken').length;
    return { problems, lost, broken, records };
  } catch (error) {
    if (isFinding(error) && !existsSync(paths.containerFile(name)) && isRemoved(context, catalog, name)) return { problems: [], ...NOTHING };
    if (isFinding(error)) return { problems: [problem(reason(error))], ...NOTHING };
    throw error;
  }
}

/**
 * Mends entries of a private area that cannot be read, where nothing can be lost by it: an ordinary file whose node xattr is
 * broken becomes a private file again. @returns what was mended; empty while the container is mounted
 */
export async function mendContainer(context: ServiceContext, name: string): Promise<{ path: string; reason: string }[]> {
  try {
    const records = await scanPrivateArea(context.paths, name, context.signal, { keepGoing: true, mend: true });
    return records.filter(({ kind }) => kind === 'mended').map(({ path, reason: why }) => ({ path: printableName(path), reason: why ?? '' }));
  } catch (error) {
    context.signal?.throwIfAborted();
    context.onNotice?.(`the private area of ${name} is left as it is: ${reason(error)}`);
    return [];
  }
}
