import { accessSync, chmodSync, chownSync, constants, lstatSync, statSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import type { ScanRecord } from '../engine/scan.js';
import { listBroken } from '../store/broken-objects.js';
import { SUM_BYTES, SumList, writeSums } from '../store/content-sums.js';
import { formatObjectId, objectPath, parseObjectId } from '../store/object-id.js';
import { objectUsage } from '../store/object-usage.js';
import { verifyObjects, verifyTrees, type StoreProblem as FileProblem, type TreesResult } from '../store/verify-store.js';
import { remindEngines, setObjectsAside, settleMended } from './broken-objects.js';
import { checkCatalog, mendCatalogProblem, type CatalogProblem } from './check-catalog.js';
import { checkContainer, mendContainer } from './check-container.js';
import { lock, openForReading, requireRoot, type ServiceContext } from './context.js';
import { usersOfObjects } from './object-users.js';
import { snapshotsInStore } from './list-snapshots.js';
import { rebuildCatalog } from './rebuild-catalog.js';
import { repairObjects, type RepairSources } from './repair-objects.js';
import { MEND, reason, type Repaired, type StoreProblem } from './store-problem.js';

export interface VerifyStoreOptions extends RepairSources {
  /** Mends what can be mended. */
  readonly repair: boolean;
  /** Not even a broken object is set aside. */
  readonly dryRun: boolean;
  /** Most bytes of objects that are read in a second. */
  readonly bytesPerSecond?: number;
}

export interface VerifyResult {
  readonly objectsChecked: number;
  readonly treesChecked: number;
  readonly containersChecked: number;
  readonly snapshotsChecked: number;
  /** Bytes of objects that were read. */
  readonly bytesChecked: number;
  /** What is wrong, and still is after `repair`. */
  readonly problems: readonly StoreProblem[];
  readonly repaired: readonly Repaired[];
}

/** Whether broken objects can be set aside: not by others than root, and not on a store that is mounted read-only. */
function canChange({ paths }: ServiceContext): boolean {
  try {
    accessSync(paths.objects, constants.W_OK);
    return process.geteuid?.() === 0;
  } catch {
    return false;
  }
}

/** One run of the check, and what it has found so far. */
class Verification {
  readonly #context: ServiceContext;
  readonly #options: VerifyStoreOptions;
  readonly #changes: boolean;
  /** Broken and missing objects: what is wrong with each. */
  readonly #lost = new Map<string, string>();
  #problems: StoreProblem[] = [];
  readonly #ofContainers = new Map<string, readonly StoreProblem[]>();
  readonly #repaired: Repaired[] = [];

  constructor(context: ServiceContext, options: VerifyStoreOptions) {
    this.#context = context;
    this.#options = options;
    this.#changes = !options.dryRun && canChange(context);
  }

  async run(catalog: Catalog): Promise<VerifyResult> {
    const { signal, onProgress } = this.#context;
    if (this.#changes) await remindEngines(this.#context);
    await this.#checkCatalog(catalog);
    const trees = await verifyTrees(this.#context.paths, {
      ...(signal !== undefined && { signal }),
      onProgress: ({ checked }) => onProgress?.({ step: 'checking trees', done: checked, unit: 'items' }),
    });
    const objects = await this.#checkObjects(trees);
    const names = catalog.containers().map(({ name }) => name);
    const snapshots = snapshotsInStore(this.#context.paths);
    const scans = await this.#checkContainers(catalog, [...names, ...snapshots], brokenTrees(trees));
    await this.#judgeObjects(trees);
    await this.#mendFiles(catalog, trees, objects.problems, scans);
    this.#problems.push(...[...this.#ofContainers.values()].flat());
    this.#nameObjects(catalog);
    return {
      objectsChecked: objects.checked,
      treesChecked: trees.checked,
      containersChecked: names.length,
      snapshotsChecked: snapshots.length,
      bytesChecked: objects.bytes,
      problems: this.#problems,
      repaired: this.#repaired,
    };
  }

  async #checkCatalog(catalog: Catalog): Promise<void> {
    for (const problem of checkCatalog(this.#context, catalog)) {
      const failure = this.#options.repair && problem.mend !== undefined ? await mendCatalogProblem(this.#context, problem) : 'not asked';
      if (failure === undefined) this.#noteRepaired(problem);
      else this.#problems.push(asProblem(problem));
    }
  }

  async #checkObjects(trees: TreesResult): Promise<{ checked: number; bytes: number; problems: readonly FileProblem[] }> {
    const { paths, signal, onProgress } = this.#context;
    const { bytesPerSecond, repair } = this.#options;
    const total = onProgress === undefined ? 0 : (await objectUsage(paths)).bytes;
    // Trees of a time before there were sums, or whose sums are lost, get them from what is sound.
    const wanted = new Set([...trees.withoutSums, ...trees.problems.filter(({ kind }) => kind === 'sums').map(({ name }) => name)]);
    const sums = repair && this.#changes && wanted.size > 0 ? new Map<string, number>() : undefined;
    const list = new SumList();
    let bytes = 0;
    const { checked, problems } = await verifyObjects(paths, {
      ...(signal !== undefined && { signal }),
      ...(bytesPerSecond !== undefined && { bytesPerSecond }),
      ...(sums !== undefined && {
        onSum: (id, sum) => {
          list.set(sums.size, sum);
          sums.set(formatObjectId(id), sums.size);
        },
      }),
      onProgress: (progress) => {
        bytes = progress.bytes;
        onProgress?.({ step: 'checking objects', done: progress.bytes, total, unit: 'bytes' });
      },
      onBroken: async (found) => { await this.#setAside(found.filter(({ cause }) => cause === 'content')); },
    });
    await this.#setAside(problems.filter(({ name, cause }) => cause === 'content' && !this.#lost.has(name)));
    for (const digest of sums === undefined ? [] : wanted) {
      if (this.#lost.size > 0) break;
      writeSums(paths, digest, (object) => {
        const index = sums?.get(formatObjectId(object));
        return index === undefined ? new Uint8Array(SUM_BYTES) : list.get(index);
      });
    }
    return { checked, bytes, problems };
  }

  /** Objects whose bytes are wrong. */
  async #setAside(found: readonly FileProblem[]): Promise<void> {
    for (const { name, problem } of found) this.#lost.set(name, problem);
    if (!this.#changes || found.length === 0) return;
    const notices = await setObjectsAside(this.#context, found.map(({ name, problem }) => ({ name, problem, missing: false })));
    for (const { name, problem } of found) this.#lost.set(name, `${problem}; it is set aside, reads of it fail`);
    for (const notice of notices) this.#context.onNotice?.(notice);
  }

  async #checkContainers(catalog: Catalog, names: readonly string[], brokenTrees: ReadonlySet<string>): Promise<Map<string, readonly ScanRecord[]>> {
    const { signal, onProgress } = this.#context;
    const scans = new Map<string, readonly ScanRecord[]>();
    for (const [index, name] of names.entries()) {
      signal?.throwIfAborted();
      onProgress?.({ step: 'checking containers', done: index, total: names.length, unit: 'items' });
      let found = await checkContainer(this.#context, catalog, name, brokenTrees);
      if (found.broken > 0 && this.#options.repair) {
        for (const { path, reason: why } of await mendContainer(this.#context, name)) this.#noteRepaired({ kind: 'container', name, problem: `${path}: ${why}` });
        found = await checkContainer(this.#context, catalog, name, brokenTrees);
      }
      this.#ofContainers.set(name, found.problems);
      for (const [object, path] of found.lost) if (!this.#lost.has(object)) this.#lost.set(object, `it is missing; ${path} of container ${name} needs it`);
      // Only what repairs may come from.
      scans.set(name, found.records.filter(({ kind }) => kind === 'file'));
    }
    return scans;
  }

  /** Objects that are known to be broken since an earlier check, and those that trees and links miss. */
  async #judgeObjects(trees: TreesResult): Promise<void> {
    const { paths } = this.#context;
    if (this.#changes && (await settleMended(this.#context)).length > 0) this.#context.onNotice?.('some objects that were set aside have been mended meanwhile');
    const known = new Map(listBroken(paths).map((note) => [formatObjectId(note.id), note]));
    for (const [name, { found, problem }] of known) {
      if (!isMissing(this.#context, name)) continue;
      if (!this.#lost.get(name)?.includes('set aside')) this.#lost.set(name, `${problem}; it is set aside since ${found}, reads of it fail`);
    }
    for (const [name, tree] of trees.lost) if (!this.#lost.has(name)) this.#lost.set(name, `it is missing; tree ${tree} needs it`);
    // The name of a missing one is kept for the content that belongs there.
    const missing = [...this.#lost].filter(([name]) => !known.has(name) && isMissing(this.#context, name));
    if (this.#changes && missing.length > 0) await setObjectsAside(this.#context, missing.map(([name, problem]) => ({ name, problem, missing: true })));
  }

  async #mendFiles(catalog: Catalog, trees: TreesResult, found: readonly FileProblem[], scans: ReadonlyMap<string, readonly ScanRecord[]>): Promise<void> {
    const { paths } = this.#context;
    const { repair } = this.#options;
    const unreadable = found.filter(({ kind, cause }) => kind === 'object' && cause === 'unreadable');
    for (const problem of found) {
      if (problem.cause === 'content') continue;
      if (repair && problem.cause === 'access' && mendAccess(this.#context, problem)) this.#noteRepaired(problem);
      else if (!repair || problem.cause !== 'unreadable') this.#problems.push(asProblem(problem));
    }
    if (repair && unreadable.length > 0) {
      for (const { name, problem } of unreadable) this.#lost.set(name, problem);
      await setObjectsAside(this.#context, unreadable.map(({ name, problem }) => ({ name, problem, missing: false })));
    }
    const broken = brokenTrees(trees);
    const missingTrees = catalog.templates().map(({ tree }) => tree).filter((tree) => lstatSync(paths.tree(tree), { throwIfNoEntry: false }) === undefined);
    if (repair && (this.#lost.size > 0 || broken.size + missingTrees.length > 0)) {
      using locks = new HeldLocks();
      locks.hold(await lock(this.#context, { name: 'store', what: 'the store', mode: 'shared' }));
      const wanted = new Set([...broken, ...missingTrees]);
      try {
        await repairObjects(this.#context, { ...this.#options, scans, templates: catalog.templates(), trees: wanted });
      } finally {
        await settleMended(this.#context);
      }
      const left = new Set(listBroken(paths).map(({ id }) => formatObjectId(id)));
      for (const [name, problem] of this.#lost) {
        if (left.has(name) || isMissing(this.#context, name)) continue;
        this.#lost.delete(name);
        this.#noteRepaired({ kind: 'object', name, problem });
      }
    }
    // A tree, or its sums, may be whole again.
    const again = repair && this.#changes && trees.problems.length + missingTrees.length > 0 ? await verifyTrees(paths) : trees;
    const stillThere = new Set(again.problems.map(({ kind, name }) => `${kind} ${name}`));
    for (const problem of trees.problems) {
      if (stillThere.has(`${problem.kind} ${problem.name}`)) this.#problems.push(asProblem(problem));
      else this.#noteRepaired(problem);
    }
    // And with it the containers that stand on it.
    if (again !== trees) {
      for (const [name, problems] of this.#ofContainers) {
        if (problems.length === 0) continue;
        this.#ofContainers.set(name, (await checkContainer(this.#context, catalog, name, brokenTrees(again))).problems);
      }
    }
    for (const tree of missingTrees) {
      if (lstatSync(paths.tree(tree), { throwIfNoEntry: false }) === undefined) continue;
      const isAboutIt = ({ problem }: StoreProblem): boolean => problem === `its tree ${tree} is missing`;
      this.#noteRepaired(...this.#problems.filter(isAboutIt));
      this.#problems = this.#problems.filter((problem) => !isAboutIt(problem));
    }
  }

  /** What is left of broken objects, with who needs them and what may help. */
  #nameObjects(catalog: Catalog): void {
    const users = usersOfObjects(this.#context.paths, catalog.templates(), new Set(this.#lost.keys()));
    for (const [name, problem] of this.#lost) {
      const templates = users.get(name) ?? [];
      const needed = templates.length === 0 ? '' : `; needed by template ${templates.map((template) => template.name).join(', ')}`;
      this.#problems.push({ kind: 'object', name, problem: problem + needed, repair: this.#repairOf(templates.map(({ source, definition }) => ({ source, definition }))) });
    }
  }

  #repairOf(users: readonly { readonly source: string; readonly definition: string | null }[]): string {
    if (!this.#options.repair) return MEND;
    const sources = users.map(({ source, definition }) => (definition === null ? `${MEND} --source with what the template came from (${source})` : `${MEND} --bootstrap, or --source with an archive or folder that has the file`));
    return sources[0] ?? `${MEND} --source with an archive or folder that has the file; what nothing needs, templatefs gc removes`;
  }

  #noteRepaired(...problems: readonly Repaired[]): void {
    for (const { kind, name, problem } of problems) this.#repaired.push({ kind, name, problem });
  }
}

function brokenTrees({ problems }: TreesResult): Set<string> {
  return new Set(problems.filter(({ kind }) => kind === 'tree').map(({ name }) => name));
}

function asProblem({ kind, name, problem, repair }: StoreProblem | FileProblem | CatalogProblem): StoreProblem {
  return { kind, name, problem, repair };
}

function isMissing({ paths }: ServiceContext, name: string): boolean {
  const id = parseObjectId(name);
  return id !== undefined && lstatSync(objectPath(paths, id), { throwIfNoEntry: false }) === undefined;
}

function mendAccess({ paths }: ServiceContext, { name }: FileProblem): boolean {
  const id = parseObjectId(name);
  if (id === undefined) return false;
  const path = objectPath(paths, id);
  chownSync(path, 0, 0);
  chmodSync(path, 0o400);
  return true;
}

/** @throws FAILED */
function checkSources(sources: readonly string[]): void {
  for (const source of sources) {
    try {
      statSync(source);
    } catch (cause) {
      throw new TemplatefsError('FAILED', `cannot read ${source}: ${reason(cause)}`, { hint: 'name an archive or a folder that templates came from', cause });
    }
  }
}

/**
 * Checks the whole store: the catalog, every tree, every byte of every object, and every private area. Other commands may run
 * meanwhile. An object whose bytes are wrong is set aside at once, so that reads of it fail (not with `dryRun`, nor where the
 * store cannot be changed); nothing else is changed without `repair`.
 *
 * @throws BAD_CATALOG when the catalog cannot be read at all and is not to be repaired, ENGINE_FAILED, INTERRUPTED; with
 *   `repair` also BUSY, NO_SPACE, STORE_NOT_WRITABLE, FAILED
 */
export async function verifyStore(context: ServiceContext, options: VerifyStoreOptions): Promise<VerifyResult> {
  if (options.repair) requireRoot('repair a store');
  checkSources(options.given);
  const repaired: Repaired[] = [];
  try {
    openForReading(context)[Symbol.dispose]();
  } catch (error) {
    if (!options.repair || !(error instanceof TemplatefsError) || error.code !== 'BAD_CATALOG') throw error;
    await rebuildCatalog(context);
    repaired.push({ kind: 'catalog', name: context.paths.catalog, problem: error.message });
  }
  using opened = openForReading(context);
  const result = await new Verification(context, options).run(opened.catalog);
  return { ...result, repaired: [...repaired, ...result.repaired] };
}
