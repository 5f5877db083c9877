import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { errnoOf, storeWriteError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { Catalog } from './catalog.js';
import { readContainerFile, type ContainerFile } from './container-file.js';
import { migrate } from './migrations.js';
import type { TemplateRecord } from './records.js';
import { catalogError } from './sqlite-error.js';
import { formatTemplateFile, readTemplateFile } from './template-file.js';
import { syncFolder, writeFileDurably } from '../store/write-file-durably.js';

export interface RebuildResult {
  readonly templates: string[];
  readonly containers: string[];
  /** Where the old catalog was moved; null when there was none. */
  readonly movedTo: string | null;
  /** What could not be taken over, and why. */
  readonly problems: { readonly name: string; readonly problem: string }[];
  /** What was taken over without something that nothing tells of any more. */
  readonly lost: { readonly name: string; readonly lost: string }[];
}

export interface RebuildOptions {
  readonly paths: StorePaths;
  /** What a tree holds, for a template whose own record is lost. @throws if the tree cannot be read */
  readonly treeSummary: (digest: string) => { readonly files: number; readonly bytes: number };
  /** Where a container is mounted, if it is. */
  readonly mountpointOf: (container: string) => string | null;
}

interface Findings {
  readonly templates: Map<string, TemplateRecord>;
  readonly containers: ContainerFile[];
  readonly problems: { name: string; problem: string }[];
  readonly lost: { name: string; lost: string }[];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith('.') && !name.includes('.tmp-')).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function collect({ paths, treeSummary }: RebuildOptions): Findings {
  const findings: Findings = { templates: new Map(), containers: [], problems: [], lost: [] };
  for (const name of namesIn(paths.templates)) {
    try {
      const record = readTemplateFile(paths.templateRecord(name));
      if (record === undefined) continue;
      if (record.name !== name) throw new Error(`the record names ${JSON.stringify(record.name)}`);
      if (!existsSync(paths.tree(record.tree))) throw new Error(`its tree ${record.tree} is gone`);
      findings.templates.set(name, record);
    } catch (error) {
      findings.problems.push({ name: `template ${name}`, problem: reason(error) });
    }
  }
  for (const name of namesIn(paths.privateAreas)) {
    try {
      const container = readContainerFile(paths.containerFile(name));
      if (container === undefined) throw new Error('there is no file `container` in its private area');
      if (container.name !== name) throw new Error(`its file names ${JSON.stringify(container.name)}`);
      if (!findings.templates.has(container.template)) {
        findings.templates.set(container.template, recoverTemplate(container, treeSummary));
        findings.lost.push({ name: `template ${container.template}`, lost: 'its record is gone: its tree is that of a container; version, source, definition and shared paths are not known' });
      }
      findings.containers.push(container);
    } catch (error) {
      findings.problems.push({ name: `container ${name}`, problem: reason(error) });
    }
  }
  for (const container of namesIn(paths.allSnapshots)) {
    for (const id of namesIn(paths.snapshots(container))) {
      const name = `${container}@${id}`;
      try {
        const file = readContainerFile(paths.containerFile(name));
        if (file === undefined) throw new Error('there is no file `container` in it');
        if (findings.templates.has(file.template)) continue;
        // So that it can be restored.
        findings.templates.set(file.template, recoverTemplate(file, treeSummary));
        findings.lost.push({ name: `template ${file.template}`, lost: `its record is gone: its tree is that of snapshot ${name}; version, source, definition and shared paths are not known` });
      } catch (error) {
        findings.problems.push({ name: `snapshot ${name}`, problem: reason(error) });
      }
    }
  }
  return findings;
}

/** A template whose record is lost, from a container that stands on it. */
function recoverTemplate(container: ContainerFile, treeSummary: RebuildOptions['treeSummary']): TemplateRecord {
  return {
    name: container.template,
    version: 1,
    tree: container.tree,
    ...treeSummary(container.tree),
    created: container.created,
    source: `recovered from container ${container.name}`,
    definition: null,
  };
}

/**
 * Moves the old catalog to another name. The file goes first: without it every command says that the catalog is missing,
 * while a catalog without its WAL would look whole and lack what was changed last. No WAL may stay, also of a catalog that is
 * gone: SQLite would take it for one of the new file.
 */
function moveAway(path: string): string | null {
  let target = `${path}.broken-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}`;
  for (let count = 2; existsSync(target); count++) target = target.replace(/(_\d+)?$/, `_${count}`);
  const isThere = existsSync(path);
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, target + suffix);
  }
  syncFolder(dirname(path));
  return isThere ? target : null;
}

/**
 * Makes a new catalog from `templates/*` and `private/*​/container`; the old one is kept under another name. The caller
 * holds the lock `catalog` exclusively, so that no other command has the old one open.
 *
 * @throws STORE_NOT_WRITABLE, NO_SPACE, IO_ERROR
 */
export function rebuildCatalog(options: RebuildOptions): RebuildResult {
  const { paths } = options;
  const found = collect(options);
  const draft = `${paths.catalog}.new`;
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(draft + suffix, { force: true });
  try {
    const database = new Database(draft);
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    migrate(database, draft);
    using catalog = new Catalog(database, draft);
    catalog.transaction(() => {
      for (const template of found.templates.values()) catalog.putTemplate(template);
      for (const { name, template, tree, created } of found.containers) {
        catalog.putContainer({ name, template, tree, created, mountpoint: options.mountpointOf(name) });
      }
    });
  } catch (error) {
    throw storeWriteError(catalogError(error, draft), draft);
  }
  for (const template of found.templates.values()) {
    const path = paths.templateRecord(template.name);
    // A record that cannot be read is kept for whoever wants to look at it.
    if (existsSync(path) && found.lost.some(({ name }) => name === `template ${template.name}`)) renameSync(path, `${paths.catalog}.broken-template-${template.name}`);
    if (!existsSync(path)) writeFileDurably(path, formatTemplateFile({ ...template, shared: null }));
  }
  const movedTo = moveAway(paths.catalog);
  renameSync(draft, paths.catalog);
  syncFolder(dirname(paths.catalog));
  return {
    templates: [...found.templates.keys()].sort(),
    containers: found.containers.map(({ name }) => name),
    movedTo: movedTo === null ? null : join(dirname(paths.catalog), basename(movedTo)),
    problems: found.problems,
    lost: found.lost,
  };
}
