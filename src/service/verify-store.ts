import { existsSync, readdirSync } from 'node:fs';
import { readContainerFile } from '../catalog/container-file.js';
import { readTemplateFile } from '../catalog/template-file.js';
import type { Catalog } from '../catalog/catalog.js';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import { scanPrivateArea, type ScanRecord } from '../engine/scan.js';
import { objectPath, parseObjectId } from '../store/object-id.js';
import { verifyObjects, verifyTrees, type VerifyOptions } from '../store/verify-store.js';
import { openForReading, type ServiceContext } from './context.js';

export interface StoreProblem {
  /** `object`, `tree`, `stray`, `container`, `template`, `catalog`. */
  readonly kind: string;
  readonly name: string;
  readonly problem: string;
  /** What mends it. */
  readonly repair: string;
}

export interface VerifyResult {
  readonly objectsChecked: number;
  readonly treesChecked: number;
  readonly containersChecked: number;
  readonly problems: readonly StoreProblem[];
}

const REBUILD = 'templatefs catalog rebuild';

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether an error is about what is checked; all others (an interrupt, a missing engine) end the check. */
function isFinding(error: unknown): boolean {
  if (!(error instanceof TemplatefsError)) return errnoOf(error) !== undefined;
  return ['INTEGRITY', 'BAD_TREE', 'BAD_CATALOG', 'IO_ERROR', 'CONTAINER_NOT_FOUND', 'FAILED'].includes(error.code);
}

function checkCatalog(context: ServiceContext, catalog: Catalog): StoreProblem[] {
  const { paths } = context;
  const problems: StoreProblem[] = catalog
    .check()
    .map((problem) => ({ kind: 'catalog', name: catalog.path, problem, repair: REBUILD }));
  for (const { name, tree } of catalog.templates()) {
    const repair = `import it again: templatefs template import ${name} SOURCE --refresh`;
    try {
      const file = readTemplateFile(paths.templateRecord(name));
      if (file === undefined) problems.push({ kind: 'template', name, problem: 'its record in templates/ is missing', repair });
      else if (file.tree !== tree) problems.push({ kind: 'template', name, problem: 'its record names another tree than the catalog', repair: REBUILD });
    } catch (error) {
      problems.push({ kind: 'template', name, problem: reason(error), repair });
    }
    if (!existsSync(paths.tree(tree))) problems.push({ kind: 'template', name, problem: `its tree ${tree} is missing`, repair });
  }
  return problems;
}

/** Private areas that the catalog does not know: a broken catalog was put back from an old backup, or a command is cut. */
function checkUnknownAreas(context: ServiceContext, catalog: Catalog): StoreProblem[] {
  const known = new Set(catalog.containers().map(({ name }) => name));
  let names: string[] = [];
  try {
    names = readdirSync(context.paths.privateAreas);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const busy = new Set(catalog.journal().map(({ subject }) => subject));
  return names
    .filter((name) => !name.startsWith('.') && !known.has(name) && !busy.has(name))
    .map((name) => ({ kind: 'container', name, problem: 'the catalog does not know it', repair: REBUILD }));
}

function checkLinks(context: ServiceContext, records: readonly ScanRecord[]): string[] {
  return records.flatMap(({ path, object }) => {
    const id = object === null ? undefined : parseObjectId(object);
    if (object === null) return [];
    if (id === undefined) return [`${path} names ${object}, which is no object`];
    return existsSync(objectPath(context.paths, id)) ? [] : [`${path} needs object ${object}, which is missing`];
  });
}

async function checkContainer(
  context: ServiceContext,
  catalog: Catalog,
  name: string,
  brokenTrees: ReadonlySet<string>,
): Promise<StoreProblem[]> {
  const { paths, signal } = context;
  const repair = 'restore its private area from a backup, or destroy it';
  const problem = (text: string): StoreProblem => ({ kind: 'container', name, problem: text, repair });
  try {
    const file = readContainerFile(paths.containerFile(name));
    if (file === undefined) {
      // It may have been destroyed since the list was made.
      return catalog.container(name) === undefined ? [] : [problem('its private area is missing')];
    }
    if (brokenTrees.has(file.tree)) {
      return [{ kind: 'container', name, problem: `its tree ${file.tree} is broken`, repair: 'mend the tree' }];
    }
    const problems: string[] = [];
    if (file.name !== name) problems.push(`its file \`container\` names ${JSON.stringify(file.name)}`);
    if (file.tree !== catalog.container(name)?.tree) problems.push('its file `container` names another tree than the catalog');
    if (!existsSync(paths.tree(file.tree))) problems.push(`its tree ${file.tree} is missing`);
    problems.push(...checkLinks(context, await scanPrivateArea(paths, name, signal)));
    return problems.map(problem);
  } catch (error) {
    if (isFinding(error)) return [problem(reason(error))];
    throw error;
  }
}

/**
 * Checks the whole store and changes nothing: the catalog, every tree, every object's content, and every private area.
 * Other commands may run meanwhile.
 *
 * @throws BAD_CATALOG when the catalog cannot be read at all, ENGINE_FAILED, INTERRUPTED
 */
export async function verifyStore(context: ServiceContext): Promise<VerifyResult> {
  const { paths, signal, onProgress } = context;
  using opened = openForReading(context);
  const { catalog } = opened;
  const problems = [...checkCatalog(context, catalog), ...checkUnknownAreas(context, catalog)];
  const options = (step: string): VerifyOptions => ({
    ...(signal !== undefined && { signal }),
    onProgress: ({ checked }) => onProgress?.({ step, done: checked, unit: 'items' }),
  });
  const trees = await verifyTrees(paths, options('checking trees'));
  const objects = await verifyObjects(paths, options('checking objects'));
  const brokenTrees = new Set(trees.problems.map(({ name }) => name));
  const names = catalog.containers().map(({ name }) => name);
  for (const [index, name] of names.entries()) {
    signal?.throwIfAborted();
    onProgress?.({ step: 'checking containers', done: index, total: names.length, unit: 'items' });
    problems.push(...(await checkContainer(context, catalog, name, brokenTrees)));
  }
  return {
    objectsChecked: objects.checked,
    treesChecked: trees.checked,
    containersChecked: names.length,
    problems: [...problems, ...trees.problems, ...objects.problems],
  };
}
