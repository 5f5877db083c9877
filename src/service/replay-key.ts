import { replayKey } from '../packages/replay-cache.js';
import type { PackagePlan, PackageRequest } from '../packages/package-manager.js';
import type { TemplateDefinition } from '../templates/definition.js';
import type { ServiceContext } from './context.js';
import type { HookOperation } from './package-hooks.js';
import type { ContainerDefinitions } from './package-source.js';
import { requireContainerFile } from './snapshot-container.js';

/** To be raised when a driver or the sandbox does the same request in another way. */
const RULES = 1;

export interface ReplayKeyOptions {
  readonly container: string;
  readonly definitions: ContainerDefinitions;
  readonly operation: HookOperation;
  /** The definitions whose scripts are run. */
  readonly hooks: readonly TemplateDefinition[];
  readonly request: PackageRequest;
  readonly plan: PackagePlan;
}

/**
 * What a transaction depends on but for the container's own files, as one word.
 *
 * @returns undefined for one that is always carried out: local files, hooks (they are told the container's name), a limit to be kept
 */
export function replayKeyOf(context: ServiceContext, options: ReplayKeyOptions): string | undefined {
  const { container, definitions, operation, hooks, request, plan } = options;
  const settings = requireContainerFile(context.paths, container);
  const hasHooks = hooks.some(({ scripts }) => Object.keys(scripts).some((name) => name.includes(`-${operation}`)));
  const isLimited = settings.quotaSizeBytes !== undefined || settings.quotaInodes !== undefined;
  if (hasHooks || isLimited || plan.changes.length === 0 || (request.kind === 'install' && request.files.length > 0)) return undefined;
  const { os, driver } = definitions;
  return replayKey({
    rules: RULES,
    tree: settings.tree,
    mapped: settings.ids !== null,
    driver: driver.name,
    environment: os.environment,
    operation,
    request,
    changes: plan.changes,
    packages: plan.downloads.map(({ fileName, sha256 }) => [fileName, sha256]),
  });
}
