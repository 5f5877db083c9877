import { appsOf } from '../catalog/apps-of-container.js';
import { readContainerFile } from '../catalog/container-file.js';
import { formatIdRange } from '../core/id-map.js';
import type { SharedPaths } from '../core/shared-paths.js';
import { controlRequest } from '../engine/control-client.js';
import { engineState } from '../engine/engine-state.js';
import { scanPrivateArea } from '../engine/scan.js';
import { quotaOf, type ContainerQuota } from './container-quota.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import type { ContainerSummary } from './list-containers.js';
import { snapshotIds } from './list-snapshots.js';
import { privateSums } from './private-sums.js';
import { containerSharedPaths, templateSharedPaths, type SharedPathsSource } from './shared-paths.js';

/** What `info` says of a container. */
export interface ContainerInfo extends ContainerSummary {
  readonly apptemplates: readonly string[];
  /** Allocated on the disk for what the container changed. */
  readonly privateBytes: number;
  /** Regular files with content of their own. */
  readonly privateFiles: number;
  /** Private entries whose content is shared. */
  readonly links: number;
  /** Ids of its snapshots. */
  readonly snapshots: readonly string[];
  /** The process that serves the root; null while it is stopped. */
  readonly enginePid: number | null;
  /** null for a container without limits. */
  readonly quota: ContainerQuota | null;
  /** Whether reads and writes bypass the engine; null while it is stopped. */
  readonly passthrough: boolean | null;
  /** Why there is no passthrough; else null. */
  readonly passthroughReason: string | null;
  readonly tree: string;
  readonly created: string;
  /** Times that the engine was started again since it was mounted; null while it is stopped, or if it does not answer. */
  readonly engineRestarts: number | null;
  /** What a crash left and the next mount or unmount clears away; else null. */
  readonly stale: string | null;
  /** Ranges CONTAINER:HOST:SIZE by which ids are shown on the host: of the mount, else of the settings; null for none. */
  readonly idMap: { readonly uids: readonly string[]; readonly gids: readonly string[] } | null;
  /** Folders whose template files are shared while they are open, as the next mount will have them. */
  readonly sharedPaths: SharedPaths;
  readonly sharedPathsFrom: SharedPathsSource;
}

/** @throws CONTAINER_NOT_FOUND, INTEGRITY, ENGINE_FAILED, BAD_CATALOG */
export async function containerInfo(context: ServiceContext, name: string): Promise<ContainerInfo> {
  const { paths, signal } = context;
  using opened = openForReading(context);
  const record = findContainer(opened.catalog, name);
  const found = await engineState(paths, name);
  const sums = privateSums(await scanPrivateArea(paths, name, signal));
  const file = readContainerFile(paths.containerFile(name));
  const hasQuota = file?.quotaSizeBytes !== undefined || file?.quotaInodes !== undefined;
  const shared = file === undefined ? templateSharedPaths(paths, record.template) : containerSharedPaths(paths, file);
  const engine = found.state === 'mounted' ? found.engine : null;
  const ids = engine === null ? (file?.ids ?? null) : engine.ids;
  const passthrough = engine === null ? null : engine.passthrough === 'yes';
  return {
    name,
    ostemplate: record.template,
    state: engine === null ? 'stopped' : 'mounted',
    root: engine?.mountpoint ?? null,
    engineVersion: engine?.version ?? null,
    apptemplates: file === undefined ? [] : appsOf(file).map(({ template }) => template),
    privateBytes: sums.allocatedBytes,
    privateFiles: sums.files,
    links: sums.links,
    snapshots: snapshotIds(paths, name),
    enginePid: engine?.worker ?? null,
    quota: hasQuota ? await quotaOf(context, name) : null,
    passthrough,
    passthroughReason: passthrough === false ? (engine?.passthrough.replace(/^no: */, '') ?? null) : null,
    tree: file?.tree ?? record.tree,
    created: record.created,
    engineRestarts: engine === null ? null : await restarts(paths.controlSocket(name)),
    stale: found.state === 'dead' ? found.reason : null,
    idMap: ids === null ? null : { uids: ids.uids.map((range) => formatIdRange(range)), gids: ids.gids.map((range) => formatIdRange(range)) },
    sharedPaths: shared.paths,
    sharedPathsFrom: shared.from,
  };
}

async function restarts(socket: string): Promise<number | null> {
  try {
    const status = await controlRequest(socket, ['status'], { timeoutMs: 2_000 });
    return Number(status.get('restarts') ?? 0);
  } catch {
    // An engine that is just being replaced does not answer; the rest of the answer holds all the same.
    return null;
  }
}
