import { lstatSync, statSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { readContainerFile } from '../catalog/container-file.js';
import { readTemplateFile } from '../catalog/template-file.js';
import { namesIn } from '../store/folder-names.js';
import { askEngine, containersWithSocket } from '../engine/running-engines.js';
import { scanPrivateArea } from '../engine/scan.js';
import { markTree, type Marks } from '../store/collect-garbage.js';
import type { ServiceContext } from './context.js';
import { snapshotsInStore } from './list-snapshots.js';
import { reason } from './store-problem.js';

/*
 * What is in use. docs/invariants/garbage.md says why nothing in use can be missed; in short:
 *
 *   - a tree is in use while a template, a container or a running engine names it;
 *   - an object is in use while a tree in use, or a link of any private area, names it;
 *   - a private area gets new links only to objects of its own tree, or from a command that holds the lock `store`;
 *   - a look at a private area counts only if nothing in it was renamed meanwhile, and no engine started or ended;
 *   - copies of private areas are made under that lock, too, and a copy that was not looked at makes all looks void.
 *
 * Whatever cannot be read leaves a doubt, and where there is a doubt nothing is swept.
 */

const SCAN_TRIES = 5;
const SNAPSHOTS = '.snapshots';

/** Something that could not be looked at: what it refers to is not known. */
export interface Doubt {
  readonly name: string;
  readonly reason: string;
}

/**
 * The trees in use, by what uses each. Cheap: it reads one small file for each template and container.
 * Templates first: whoever takes a tree from a template that is then changed holds the template's lock until the container is
 * there, so it is found by one of the two.
 */
export async function treesInUse(context: ServiceContext, catalog: Catalog, doubts: Doubt[]): Promise<Set<string>> {
  const { paths, signal } = context;
  const trees = new Set<string>();
  for (const name of namesIn(paths.templates)) {
    // A record that is being written has another name beside it until it counts.
    if (name.includes('.tmp-')) continue;
    try {
      const record = readTemplateFile(paths.templateRecord(name));
      if (record !== undefined) trees.add(record.tree);
    } catch (error) {
      doubts.push({ name: `template ${name}`, reason: reason(error) });
    }
  }
  for (const { tree } of catalog.templates()) trees.add(tree);
  for (const name of namesIn(paths.privateAreas)) {
    // What is being removed needs nothing any more.
    if (name.startsWith('.trash-') || name === SNAPSHOTS) continue;
    try {
      const file = readContainerFile(paths.containerFile(name));
      if (file !== undefined) trees.add(file.tree);
      else if (!name.startsWith('.new-') && lstatSync(paths.privateArea(name), { throwIfNoEntry: false }) !== undefined) {
        doubts.push({ name: `container ${name}`, reason: 'there is no file `container` in its private area' });
      }
    } catch (error) {
      doubts.push({ name: `container ${name}`, reason: reason(error) });
    }
  }
  for (const { tree } of catalog.containers()) trees.add(tree);
  for (const name of snapshotsInStore(paths)) {
    try {
      const file = readContainerFile(paths.containerFile(name));
      if (file !== undefined) trees.add(file.tree);
      else if (lstatSync(paths.privateArea(name), { throwIfNoEntry: false }) !== undefined) doubts.push({ name: `snapshot ${name}`, reason: 'it has no file `container`' });
    } catch (error) {
      doubts.push({ name: `snapshot ${name}`, reason: reason(error) });
    }
  }
  for (const name of containersWithSocket(paths)) {
    const answer = await askEngine(paths, name, ['status'], 30_000, signal);
    if (answer === undefined) continue;
    const tree = answer.reply?.get('tree');
    if (tree === undefined) doubts.push({ name: `container ${name}`, reason: `its engine does not answer: ${answer.problem}` });
    else trees.add(tree);
  }
  return trees;
}

/**
 * All private areas that there are, those of snapshots too, each with what tells it from another one that has its name later.
 * Cheap: it reads folders only.
 */
export function areasInUse({ paths }: ServiceContext): Map<string, string> {
  const areas = new Map<string, string>();
  const names = namesIn(paths.privateAreas).filter((name) => !name.startsWith('.'));
  for (const name of [...names, ...snapshotsInStore(paths)]) {
    const stat = lstatSync(paths.privateArea(name), { bigint: true, throwIfNoEntry: false });
    if (stat !== undefined) areas.set(name, `${stat.ino} ${stat.birthtimeNs}`);
  }
  return areas;
}

/** What changes whenever a name in a private area may have moved: equal before and after a scan, it has missed nothing. */
async function stamp(context: ServiceContext, name: string): Promise<string> {
  const { paths } = context;
  // An engine that starts takes the lock, which touches its file.
  const lock = statSync(`${paths.privateArea(name)}/lock`, { bigint: true, throwIfNoEntry: false });
  const taken = lock === undefined ? 'never' : `${lock.ino} ${lock.mtimeNs}`;
  const answer = await askEngine(paths, name, ['status']);
  if (answer === undefined) return `stopped ${taken}`;
  if (answer.reply === undefined) throw new Error(`its engine does not answer: ${answer.problem}`);
  const renames = ['op.rename', 'op.rename2', 'op.link'].map((key) => answer.reply?.get(key) ?? '0');
  return `engine ${answer.reply.get('holder') ?? ''} ${taken} ${renames.join(' ')}`;
}

/** Marks the objects that links of one private area name. @returns a doubt, if that cannot be known */
async function markArea(context: ServiceContext, name: string, marks: Marks): Promise<string | undefined> {
  const { paths, signal } = context;
  for (let round = 0; round < SCAN_TRIES; round++) {
    signal?.throwIfAborted();
    const before = await stamp(context, name);
    const records = await scanPrivateArea(paths, name, signal, { keepGoing: true });
    // Whatever was seen may be kept, also if the rest has to be looked at once more.
    for (const { object } of records) if (object !== null) marks.objects.add(object);
    const broken = records.find(({ kind }) => kind === 'broken');
    const isStable = before === (await stamp(context, name));
    if (isStable && broken === undefined) return undefined;
    if (isStable && broken !== undefined && round > 0) return `${broken.path}: ${broken.reason ?? 'cannot be read'}`;
  }
  return 'it renames files faster than its private area can be read';
}

/**
 * Marks all that is in use.
 *
 * @param doubts gets what could not be looked at @returns the private areas that were looked at, as {@link areasInUse} @throws INTERRUPTED, ENGINE_FAILED (no engine program)
 */
export async function markInUse(context: ServiceContext, catalog: Catalog, marks: Marks, doubts: Doubt[]): Promise<ReadonlyMap<string, string>> {
  const { paths, signal, onProgress } = context;
  const trees = [...(await treesInUse(context, catalog, doubts))];
  for (const [index, digest] of trees.entries()) {
    signal?.throwIfAborted();
    onProgress?.({ step: 'marking trees', done: index, total: trees.length, unit: 'items' });
    try {
      markTree(paths, digest, marks);
    } catch (error) {
      // It stays, but what it needs is not known.
      marks.trees.add(digest);
      doubts.push({ name: `tree ${digest}`, reason: reason(error) });
    }
  }
  const areas = areasInUse(context);
  for (const [index, name] of [...areas.keys()].entries()) {
    signal?.throwIfAborted();
    onProgress?.({ step: 'marking containers', done: index, total: areas.size, unit: 'items' });
    try {
      const doubt = await markArea(context, name, marks);
      if (doubt !== undefined) doubts.push({ name: `container ${name}`, reason: doubt });
    } catch (error) {
      signal?.throwIfAborted();
      // Destroyed since.
      if (lstatSync(paths.privateArea(name), { throwIfNoEntry: false }) === undefined) continue;
      doubts.push({ name: `container ${name}`, reason: reason(error) });
    }
  }
  return areas;
}
