import { existsSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { readContainerFile } from '../catalog/container-file.js';
import { formatTemplateFile, readTemplateFile, type TemplateFile } from '../catalog/template-file.js';
import { writeFileDurably } from '../store/write-file-durably.js';
import type { TemplateRecord } from '../catalog/records.js';
import { namesIn } from '../store/folder-names.js';
import { lock, openForWriting, type ServiceContext } from './context.js';
import { MEND, REBUILD, reason, type StoreProblem } from './store-problem.js';

/** A problem, and how it is mended: by a change of the catalog that makes it follow the files, or of one record. */
export interface CatalogProblem extends StoreProblem {
  /** The lock that guards what is mended, and the change; none for what only a person can mend. */
  readonly mend?: { readonly lock: string; readonly change: (catalog: Catalog) => void };
}

function templateProblem(context: ServiceContext, row: TemplateRecord): CatalogProblem[] {
  const { paths } = context;
  const { name, tree } = row;
  const at = { kind: 'template', name } as const;
  const lockName = `template-${name}`;
  const writeRecord = (): void => { writeFileDurably(paths.templateRecord(name), formatTemplateFile({ ...row, shared: null })); };
  const problems: CatalogProblem[] = [];
  let file: TemplateFile | undefined;
  try {
    file = readTemplateFile(paths.templateRecord(name));
    if (file === undefined) {
      problems.push({ ...at, problem: 'its record in templates/ is missing', repair: MEND, mend: { lock: lockName, change: writeRecord } });
    } else if (file.tree !== tree) {
      const record = file;
      problems.push({
        ...at, problem: 'its record names another tree than the catalog', repair: MEND,
        mend: { lock: lockName, change: (catalog) => { catalog.putTemplate(record); } },
      });
    }
  } catch (error) {
    problems.push({ ...at, problem: reason(error), repair: MEND, mend: { lock: lockName, change: writeRecord } });
  }
  const wanted = file?.tree ?? tree;
  if (!existsSync(paths.tree(wanted))) {
    problems.push({ ...at, problem: `its tree ${wanted} is missing`, repair: `${MEND} --source with the archive or folder that it came from` });
  }
  return problems;
}

/** Private areas that the catalog does not know: a broken catalog was put back from an old backup. */
function unknownAreas(context: ServiceContext, catalog: Catalog): CatalogProblem[] {
  const { paths } = context;
  const known = new Set(catalog.containers().map(({ name }) => name));
  return namesIn(paths.privateAreas)
    .filter((name) => !name.startsWith('.') && !known.has(name))
    .map((name) => ({
      kind: 'container', name, problem: 'the catalog does not know it', repair: REBUILD,
      mend: { lock: `container-${name}`, change: (rows) => { takeOver(context, rows, name); } },
    }));
}

/** Makes the catalog's row of a container follow its file. @throws Error where that cannot be */
function takeOver(context: ServiceContext, catalog: Catalog, name: string): void {
  const file = readContainerFile(context.paths.containerFile(name));
  if (file === undefined) throw new Error('there is no file `container` in its private area');
  if (file.name !== name) throw new Error(`its file \`container\` names ${JSON.stringify(file.name)}`);
  if (catalog.template(file.template) === undefined) throw new Error(`its template ${file.template} is not known`);
  const mountpoint = catalog.container(name)?.mountpoint ?? null;
  catalog.putContainer({ name, template: file.template, tree: file.tree, created: file.created, mountpoint });
}

function differingRows(context: ServiceContext, catalog: Catalog): CatalogProblem[] {
  return catalog.containers().flatMap(({ name, tree }) => {
    try {
      const file = readContainerFile(context.paths.containerFile(name));
      if (file === undefined || file.name !== name || file.tree === tree) return [];
    } catch {
      return []; // The check of the container names it.
    }
    return [{
      kind: 'container', name, problem: 'its file `container` names another tree than the catalog', repair: MEND,
      mend: { lock: `container-${name}`, change: (rows: Catalog) => { takeOver(context, rows, name); } },
    }];
  });
}

/** What is wrong with the catalog, and where it and the files of the store do not agree. */
export function checkCatalog(context: ServiceContext, catalog: Catalog): CatalogProblem[] {
  const { paths } = context;
  const busy = new Set<string>();
  const noteBusy = (): void => { for (const { subject } of catalog.journal()) busy.add(subject); };
  noteBusy();
  const differing = [...catalog.templates().flatMap((row) => templateProblem(context, row)), ...unknownAreas(context, catalog), ...differingRows(context, catalog)];
  noteBusy();
  return [
    ...catalog.check().map((problem) => ({ kind: 'catalog', name: paths.catalog, problem, repair: REBUILD })),
    // A command is at work on the others, or was cut: then the next that writes makes the catalog follow the files.
    ...differing.filter(({ name }) => !busy.has(name)),
  ];
}

/** Mends one problem. @returns why it could not be */
export async function mendCatalogProblem(context: ServiceContext, problem: CatalogProblem): Promise<string | undefined> {
  if (problem.mend === undefined) return 'it takes a person';
  try {
    using opened = await openForWriting(context);
    using locks = new HeldLocks();
    locks.hold(await lock(context, { name: problem.mend.lock, what: `${problem.kind} ${problem.name}`, mode: 'exclusive' }));
    problem.mend.change(opened.catalog);
    return undefined;
  } catch (error) {
    context.signal?.throwIfAborted();
    return reason(error);
  }
}
