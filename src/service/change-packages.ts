import { appsOf, withApps, type InstalledApp } from '../catalog/apps-of-container.js';
import { formatContainerFile, readContainerFile } from '../catalog/container-file.js';
import { HeldLocks } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import { beginTrace } from '../engine/trace.js';
import type { ContainerPrograms, FetchedPackage, InstalledPackage, PackageChange, PackageHost, PackagePlan, PackageRequest, PackageSource } from '../packages/package-manager.js';
import { replaysOf } from '../packages/replay-cache.js';
import { findFirstProcess } from '../sandbox/find-first-process.js';
import { writeFileDurably } from '../store/write-file-durably.js';
import type { TemplateDefinition } from '../templates/definition.js';
import { lock, openForWriting, orTell, type ServiceContext } from './context.js';
import { fetchPackages } from './fetch-packages.js';
import { findContainer, findTemplate, lockSubject } from './find-record.js';
import { openPackageHost } from './package-host.js';
import { runHooks, type HookOperation, type HookPlace, type HookTime } from './package-hooks.js';
import { packagePrograms } from './package-programs.js';
import { appDefinition, containerDefinitions, packageSource, type ContainerDefinitions } from './package-source.js';
import { planPaths, type PlannedPath } from './plan-paths.js';
import { PackageTransaction } from './package-transaction.js';
import { replayKeyOf } from './replay-key.js';
import { recordTransaction, replayTransaction, waitForTurn } from './replay-transaction.js';
import { transactionSnapshot } from './settle-transactions.js';
import { shareWritten, type SharedFiles } from './share-written.js';
import { enterContainer, hostnameOf, leaveContainer, type EnteredContainer } from './use-container.js';

/*
 * Installs, updates and removes packages of one container; docs/installer.md has the whole picture. In short:
 *
 *   1. the host fetches metadata and checks them
 *   2. the container's package manager plans, in the sandbox
 *   3. the host fetches what the plan needs, and checks it
 *   4. a transaction begins: whatever happens from here on, it is undone as a whole, or done
 *   5. the container's package manager does it, in the sandbox, without network; hooks before and after
 *   6. the transaction ends: one write of the catalog
 *   7. what was written is shared with whoever has the same, and kept to be replayed in containers that are in the same state
 *
 * In such a container a replay stands in place of 3 and 5 to 7.
 */

/** Metadata that were checked so lately are used without asking the mirrors. */
const METADATA_MAX_AGE_MS = 6 * 3600_000;

export type ChangeOperation = 'install' | 'update' | 'remove' | 'localinstall';

export interface ChangePackagesOptions {
  readonly container: string;
  readonly operation: ChangeOperation;
  /** App templates, by any of their names. */
  readonly templates?: readonly string[];
  readonly packages?: readonly string[];
  readonly groups?: readonly string[];
  /** localinstall: package files of the host. */
  readonly files?: readonly string[];
  readonly force?: boolean;
  readonly withDependants?: boolean;
  readonly dryRun?: boolean;
  /** false: a dry run names packages only, and downloads none. */
  readonly paths?: boolean;
  /** Asks the mirrors for news, however lately that was done. */
  readonly refresh?: boolean;
  /** One of several at once: no progress bar of its own. */
  readonly oneOfMany?: boolean;
  /** false: the package manager does it, also if another container in the same state had the same done. */
  readonly replay?: boolean;
}

/** What `install` and its like answer. */
export interface ChangedPackages {
  readonly name: string;
  readonly operation: ChangeOperation;
  /** For `rollback`; null when there was nothing to do. */
  readonly transaction: number | null;
  /** App templates, with their full names. */
  readonly templates: readonly string[];
  readonly packages: readonly PackageChange[];
  readonly downloadBytes: number;
  /** New in the store. */
  readonly addedBytes: number;
  /** Content of the container that is shared since. */
  readonly linkedBytes: number;
  /** Another container in the same state had the same done before, and this one got what was written there. */
  readonly replayed: boolean;
  readonly seconds: number;
  /** Seconds of each step. */
  readonly timings: Readonly<Record<string, number>>;
  readonly dryRun: boolean;
  /** Of a dry run: what the packages' own lists say; null where that was not asked for, or could not be found out. */
  readonly paths: readonly PlannedPath[] | null;
  /** Of a dry run: packages whose scripts would run, and may change other paths. */
  readonly scripts: readonly string[];
}

interface Work {
  readonly context: ServiceContext;
  readonly options: ChangePackagesOptions;
  readonly definitions: ContainerDefinitions;
  readonly apps: readonly TemplateDefinition[];
  readonly source: PackageSource;
  readonly timer: Timer;
}

/** How long each step took. */
class Timer {
  readonly #started = performance.now();
  readonly steps: Record<string, number> = {};

  async time<Result>(step: string, work: () => Promise<Result>): Promise<Result> {
    const from = performance.now();
    try {
      return await work();
    } finally {
      this.steps[step] = Math.round((this.steps[step] ?? 0) * 1000 + performance.now() - from) / 1000;
    }
  }

  get seconds(): number {
    return Math.round(performance.now() - this.#started) / 1000;
  }
}

function namesOf(definition: TemplateDefinition): string[] {
  const { minimal, base, main } = definition.packages;
  return [...minimal, ...base, ...main];
}

const bareName = (name: string): string => name.replace(/[:=/].*$/, '');

/** What is removed with app templates: their packages, but for those that something else in the container names. */
function removable(work: Work, installed: readonly InstalledPackage[]): string[] {
  const { definitions, apps } = work;
  const there = new Set(installed.map(({ name }) => name));
  const others = definitions.installed.filter(({ app }) => !apps.some(({ name }) => name === app.template));
  const kept = new Set([...namesOf(definitions.os), ...others.flatMap(({ app, definition }) => (definition === undefined ? app.packages : namesOf(definition)))].map(bareName));
  return [...new Set(apps.flatMap(namesOf).map(bareName))].filter((name) => there.has(name) && !kept.has(name));
}

async function requestOf(work: Work, programs: ContainerPrograms): Promise<PackageRequest> {
  const { options, apps, definitions } = work;
  const { packages = [], groups = [], files = [] } = options;
  switch (options.operation) {
    case 'install':
    case 'localinstall':
      return { kind: 'install', packages: [...new Set([...apps.flatMap(namesOf), ...packages])], groups, files, ...(options.force === true && { force: true }) };
    case 'update':
      return { kind: 'update', packages: [...new Set([...apps.flatMap(namesOf), ...packages])] };
    case 'remove': {
      const names = apps.length === 0 ? [] : removable(work, await definitions.driver.installed(programs));
      return { kind: 'remove', packages: [...new Set([...names, ...packages])], withDependants: options.withDependants === true };
    }
  }
}

/** The definitions whose scripts are run. */
function hookDefinitions({ definitions, apps }: Work, operation: HookOperation): readonly TemplateDefinition[] {
  return apps.length > 0 ? apps : operation === 'update' ? [definitions.os] : [];
}

const hookOperation = (operation: ChangeOperation): HookOperation => (operation === 'localinstall' ? 'install' : operation);

/** The app templates that the container has afterwards. */
function appsAfter({ options, apps }: Work, before: readonly InstalledApp[]): readonly InstalledApp[] {
  if (options.operation === 'update' || options.operation === 'localinstall') return before;
  const others = before.filter(({ template }) => !apps.some(({ name }) => name === template));
  return options.operation === 'remove' ? others : [...others, ...apps.map((definition) => ({ template: definition.name, packages: namesOf(definition) }))];
}

async function recordApps(work: Work): Promise<void> {
  const { context, options } = work;
  const path = context.paths.containerFile(options.container);
  using opened = await openForWriting(context);
  using locks = new HeldLocks();
  locks.hold(await lockSubject({ ...context, waitMs: 30_000 }, opened.catalog, 'container', options.container));
  const file = readContainerFile(path);
  if (file === undefined) throw new TemplatefsError('INTEGRITY', `${path} is gone`, { hint: 'run `templatefs verify`' });
  const before = appsOf(file);
  const after = appsAfter(work, before);
  if (JSON.stringify(before) !== JSON.stringify(after)) writeFileDurably(path, formatContainerFile(withApps(file, after)));
}

/** A package that the metadata do not have may have come since they were fetched. */
async function planWithNews({ options, definitions, source }: Work, host: PackageHost, programs: ContainerPrograms, request: PackageRequest): Promise<PackagePlan> {
  try {
    return await definitions.driver.plan(host, programs, source, request);
  } catch (error) {
    const isOld = options.refresh !== true && options.operation !== 'remove';
    if (!isOld || !(error instanceof TemplatefsError) || error.code !== 'PACKAGE_NOT_FOUND') throw error;
    await definitions.driver.refresh(host, source, { maxAgeMs: 0 });
    return definitions.driver.plan(host, programs, source, request);
  }
}

function isDone(plan: PackagePlan, { operation, templates = [] }: ChangePackagesOptions): boolean {
  return plan.changes.length === 0 && (templates.length === 0 || operation === 'update');
}

async function carryOut(work: Work, place: HookPlace, host: PackageHost, request: PackageRequest, plan: PackagePlan, fetched: readonly FetchedPackage[]): Promise<void> {
  const { context, options, definitions, source, timer } = work;
  const operation = hookOperation(options.operation);
  const hooks = hookDefinitions(work, operation);
  const hook = async (time: HookTime): Promise<void> => {
    try {
      await runHooks(context, hooks, { time, operation }, place);
    } catch (error) {
      const isScript = error instanceof TemplatefsError && error.code === 'PACKAGE_MANAGER_FAILED';
      if (!isScript || operation !== 'remove' || options.force !== true) throw error;
      context.onNotice?.(error.message);
    }
  };
  await timer.time('hooks', async () => {
    await hook('pre');
    await hook('mid-pre');
  });
  if (plan.changes.length > 0) await timer.time('install', () => definitions.driver.apply(host, place.programs, source, { request, plan, fetched }));
  await timer.time('hooks', async () => {
    await hook('mid-post');
    await hook('post');
  });
}

/** What was installed is installed, also when it could not be shared. */
async function shareOrTell({ context, options, definitions }: Work, root: string, written: ReadonlySet<string>): Promise<SharedFiles> {
  const sharing = async (): Promise<SharedFiles> => shareWritten(context, { container: options.container, root, secretPaths: definitions.driver.secretPaths, written });
  return await orTell(context, `what was written could not be shared, do it later (templatefs link ${options.container})`, sharing) ?? { addedBytes: 0, linkedBytes: 0 };
}

/** What programs ask of a root that was mounted for them is noted, so that it is known in which other containers they would do the same. */
async function traceIfAlone({ context, options }: Work, { wasStopped }: EnteredContainer): Promise<void> {
  if (wasStopped && options.replay !== false) await beginTrace(context.paths, options.container);
}

async function prepare(context: ServiceContext, options: ChangePackagesOptions): Promise<Work> {
  const definitions = await (async () => {
    using opened = await openForWriting(context);
    const record = findContainer(opened.catalog, options.container);
    return await containerDefinitions(context, options.container, findTemplate(opened.catalog, record.template));
  })();
  const apps: TemplateDefinition[] = [];
  for (const name of options.templates ?? []) {
    const definition = await appDefinition(context, definitions.os, name);
    const isThere = definitions.installed.some(({ app }) => app.template === definition.name);
    if (options.operation === 'install' && isThere && options.force !== true) {
      context.onNotice?.(`${definition.name} is installed in ${options.container} already`);
    }
    if (options.operation !== 'install' && !isThere) {
      throw new TemplatefsError('TEMPLATE_NOT_FOUND', `container ${options.container} does not have ${definition.name}`, { hint: `see what it has: templatefs list ${options.container}` });
    }
    apps.push(definition);
  }
  const others = definitions.installed.flatMap(({ definition }) => (definition === undefined ? [] : [definition]));
  return { context, options, definitions, apps, source: packageSource(definitions.os, [...others, ...apps]), timer: new Timer() };
}

/**
 * Installs, updates or removes packages of a container, stopped or mounted. It is done as a whole, or the container is as before.
 *
 * @throws CONTAINER_NOT_FOUND, TEMPLATE_NOT_FOUND, PACKAGE_NOT_FOUND, BAD_DEFINITION, INTEGRITY, NO_MIRROR, PACKAGE_MANAGER_FAILED,
 *   BUSY, NO_SPACE, FUSE_UNAVAILABLE, ENGINE_FAILED, INTERRUPTED, FAILED
 */
export async function changePackages(context: ServiceContext, options: ChangePackagesOptions): Promise<ChangedPackages> {
  const { container: name } = options;
  const work = await prepare(context, options);
  const { definitions, source, timer, apps } = work;
  const opened = openPackageHost(context, options.oneOfMany);
  const { host } = opened;
  using locks = new HeldLocks();
  locks.hold(await lock(context, { name: `packages-${name}`, what: `the packages of container ${name}`, mode: 'exclusive' }));
  const result = (packages: readonly PackageChange[], rest: Partial<ChangedPackages> = {}): ChangedPackages => ({
    name, operation: options.operation, transaction: null, templates: apps.map((definition) => definition.name), packages,
    downloadBytes: 0, addedBytes: 0, linkedBytes: 0, replayed: false, seconds: timer.seconds, timings: timer.steps, dryRun: options.dryRun === true, paths: null, scripts: [], ...rest,
  });
  try {
    if (options.operation !== 'remove') {
      await timer.time('metadata', () => definitions.driver.refresh(host, source, { maxAgeMs: options.refresh === true ? 0 : METADATA_MAX_AGE_MS }));
    }
    let entered = await timer.time('mount', () => enterContainer(context, name));
    let transaction: PackageTransaction | undefined;
    let hasEnded = false;
    let endTurn: (() => void) | undefined;
    try {
      await traceIfAlone(work, entered);
      const about = { name, root: entered.root, ids: entered.ids, environment: definitions.os.environment, ...(context.signal !== undefined && { signal: context.signal }) };
      const running = await findFirstProcess(entered.root);
      // What only looks is kept from the container's network and services in any case.
      const programs = packagePrograms(about);
      const place: HookPlace = {
        container: name, root: entered.root, privateArea: context.paths.privateArea(name), programs: running === undefined ? programs : packagePrograms({ ...about, running }),
      };
      const request = await requestOf(work, programs);
      const isEmpty = request.kind === 'remove' && request.packages.length === 0;
      const plan = isEmpty ? { changes: [], downloads: [] } : await timer.time('plan', () => planWithNews(work, host, programs, request));
      const downloadBytes = plan.downloads.filter((file) => !host.cache.has(file)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      if (options.dryRun === true) {
        const planned = options.paths === false ? {} : await timer.time('paths', () => planPaths(context, { container: name, driver: definitions.driver, host, programs, request, plan }));
        return result(plan.changes, { downloadBytes, ...planned, seconds: timer.seconds });
      }
      if (isDone(plan, options)) return result(plan.changes, { downloadBytes });
      const { operation, packages = [], groups = [], files = [] } = options;
      const templates = apps.map((definition) => definition.name);
      const begin = (): Promise<PackageTransaction> => timer.time('snapshot', () => PackageTransaction.begin(context, { container: name, operation, request: { templates, packages, groups, files } }));
      const key = entered.wasStopped && options.replay !== false ? replayKeyOf(context, { container: name, definitions, operation: hookOperation(operation), hooks: hookDefinitions(work, hookOperation(operation)), request, plan }) : undefined;
      if (key !== undefined && replaysOf(context.paths, key).length === 0) endTurn = await waitForTurn(key);
      if (key !== undefined && replaysOf(context.paths, key).length > 0) {
        entered.use.release();
        await timer.time('mount', () => leaveContainer(context, name));
        const begun = (transaction = await begin());
        const replayed = await timer.time('replay', () => replayTransaction(context, name, key));
        if (replayed !== undefined) {
          await recordApps(work);
          await timer.time('commit', () => begun.commit(plan.changes));
          [transaction, hasEnded] = [undefined, true];
          return result(plan.changes, { transaction: begun.id, ...replayed, replayed: true, seconds: timer.seconds });
        }
        entered = await timer.time('mount', () => enterContainer(context, name));
        await traceIfAlone(work, entered);
      }
      const fetched = await timer.time('download', () => fetchPackages(host, plan.downloads));
      const begun = (transaction ??= await begin());
      await carryOut(work, place, host, request, plan, fetched);
      await recordApps(work);
      const written = await timer.time('commit', () => begun.commit(plan.changes));
      [transaction, hasEnded] = [undefined, true];
      const { root } = entered;
      const shared = await timer.time('share', () => shareOrTell(work, root, written));
      if (key !== undefined) {
        const rules = { secretPaths: definitions.driver.secretPaths, names: [...new Set([name, hostnameOf(name)])] };
        const recording = async (): Promise<void> => recordTransaction(context, { container: name, key, snapshot: `${name}@${transactionSnapshot(begun.id)}`, entered, rules, linkedBytes: shared.linkedBytes });
        await timer.time('record', () => orTell(context, 'it could not be recorded for other containers', recording));
      }
      return result(plan.changes, { transaction: begun.id, downloadBytes, ...shared, seconds: timer.seconds });
    } catch (error) {
      hasEnded = true;
      // Whoever uses the root of a stopped container must have let go of it before it is put back.
      if (transaction !== undefined) {
        entered.use.release();
        await leaveContainer(context, name);
        await transaction.rollBack();
      }
      throw error;
    } finally {
      endTurn?.();
      entered.use.release();
      const leaving = async (): Promise<void> => leaveContainer(context, name);
      // What is done stays done, and what failed first is what is said.
      await (hasEnded ? orTell(context, `${name} could not be unmounted, do it later (templatefs umount ${name})`, leaving) : leaving());
    }
  } finally {
    await opened.close();
  }
}
