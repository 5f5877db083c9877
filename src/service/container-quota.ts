import { readContainerFile, formatContainerFile, type ContainerFile } from '../catalog/container-file.js';
import { writeFileDurably } from '../store/write-file-durably.js';
import { TemplatefsError } from '../core/errors.js';
import type { StorePaths } from '../core/store-paths.js';
import { engineState, settledEngineState } from '../engine/engine-state.js';
import { engineQuota, stoppedQuota, type QuotaChange, type QuotaLimit, type QuotaUse } from '../engine/quota.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { holdContainer } from './hold-container.js';

/** The container file holds so many digits. */
const LIMIT_MAX = 999_999_999_999_999;

/** Limits of a container, and what it takes against them. */
export interface ContainerQuota extends QuotaUse {
  readonly sizeBytes: QuotaLimit;
  readonly inodes: QuotaLimit;
}

export interface NamedQuota extends ContainerQuota {
  readonly name: string;
}

/** @throws USAGE */
export function checkLimit(limit: QuotaLimit | undefined, what: string): void {
  if (limit === undefined || limit === null || limit <= LIMIT_MAX) return;
  throw new TemplatefsError('USAGE', `the limit of ${what} is too large: ${limit}`, { hint: `take one of at most ${LIMIT_MAX}, or none` });
}

function settings(context: ServiceContext, name: string): ContainerFile {
  const file = readContainerFile(context.paths.containerFile(name));
  if (file !== undefined) return file;
  throw new TemplatefsError('INTEGRITY', `container ${name} has lost its settings, ${context.paths.containerFile(name)}`, {
    hint: 'run `templatefs verify`; the file can be restored from a backup of the store',
  });
}

/** The limits in a container's settings. */
function limits(file: ContainerFile): { sizeBytes: QuotaLimit; inodes: QuotaLimit } {
  return { sizeBytes: file.quotaSizeBytes ?? null, inodes: file.quotaInodes ?? null };
}

/** A worker that is replaced while it is asked does not answer; its successor does. */
async function askEngine(paths: StorePaths, name: string): Promise<QuotaUse> {
  try {
    return await engineQuota(paths, name);
  } catch (error) {
    if (!(error instanceof TemplatefsError && error.code === 'ENGINE_FAILED')) throw error;
    return await engineQuota(paths, name);
  }
}

/** Limits and use, mounted or not. @throws INTEGRITY, ENGINE_FAILED */
export async function quotaOf(context: ServiceContext, name: string): Promise<ContainerQuota> {
  const { paths } = context;
  const found = await engineState(paths, name);
  const use = found.state === 'mounted' ? await askEngine(paths, name) : await stoppedQuota(paths, name);
  return { ...limits(settings(context, name)), ...use };
}

/** @throws CONTAINER_NOT_FOUND, INTEGRITY, ENGINE_FAILED */
export async function containerQuota(context: ServiceContext, name: string): Promise<NamedQuota> {
  using opened = openForReading(context);
  findContainer(opened.catalog, name);
  return { name, ...(await quotaOf(context, name)) };
}

function changed(file: ContainerFile, change: QuotaChange): ContainerFile {
  const { quotaSizeBytes, quotaInodes, ...rest } = file;
  const sizeBytes = change.sizeBytes === undefined ? (quotaSizeBytes ?? null) : change.sizeBytes;
  const inodes = change.inodes === undefined ? (quotaInodes ?? null) : change.inodes;
  return {
    ...rest,
    ...(sizeBytes !== null && { quotaSizeBytes: sizeBytes }),
    ...(inodes !== null && { quotaInodes: inodes }),
  };
}

/**
 * Changes limits of a container: at once if it is mounted, and for good. The engine comes first, because only it can
 * refuse; if the settings cannot be written then, it goes back to what it had.
 *
 * @throws USAGE, CONTAINER_NOT_FOUND, BUSY, INTEGRITY, NO_SPACE, STORE_NOT_WRITABLE
 */
export async function setContainerQuota(context: ServiceContext, name: string, change: QuotaChange): Promise<NamedQuota> {
  const { paths } = context;
  checkLimit(change.sizeBytes, 'bytes');
  checkLimit(change.inodes, 'inodes');
  using _held = await holdContainer(context, name);
  const before = settings(context, name);
  const after = changed(before, change);
  const apply = (await settledEngineState(paths, name)).state === 'mounted' ? engineQuota : stoppedQuota;
  let use: QuotaUse;
  try {
    use = await apply(paths, name, change);
  } catch (error) {
    if (!(error instanceof TemplatefsError && error.code === 'BUSY')) throw error;
    throw new TemplatefsError('BUSY', `the limit of container ${name} cannot be set now: ${error.message}`, {
      hint: `close those files, or unmount it, set the limit and mount it: templatefs umount ${name}`,
      cause: error,
    });
  }
  const save = (): void => {
    writeFileDurably(paths.containerFile(name), formatContainerFile(after));
  };
  try {
    try {
      save();
    } catch (error) {
      // On btrfs the settings lie within what is limited.
      if (use.enforcedBy !== 'btrfs' || !(error instanceof TemplatefsError && error.code === 'NO_SPACE')) throw error;
      await apply(paths, name, { sizeBytes: null });
      save();
      use = await apply(paths, name, { sizeBytes: after.quotaSizeBytes ?? null });
    }
  } catch (error) {
    await apply(paths, name, limits(before)).catch(() => undefined);
    throw error;
  }
  return { name, ...limits(after), ...use };
}
