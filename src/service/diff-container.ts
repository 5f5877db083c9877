import { controlRequest } from '../engine/control-client.js';
import { settledEngineState } from '../engine/engine-state.js';
import { AreaView } from './area-view.js';
import { ChangeReasons, type ReasonedChange } from './change-reasons.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { ociChanges, type OciChange } from './layer-changes.js';
import { PrivateView, withoutRawPath, type Change } from './private-view.js';

/** One line of `diff`, and why it is there. */
export type ExplainedChange = Change & ReasonedChange;

/** Opens what a container shows now. What was written a moment ago is still in the kernel's cache of the mount. */
export async function openSettledView(context: ServiceContext, name: string): Promise<AreaView> {
  const { paths } = context;
  const record = (() => {
    using opened = openForReading(context);
    return findContainer(opened.catalog, name);
  })();
  if ((await settledEngineState(paths, name)).state === 'mounted') {
    await controlRequest(paths.controlSocket(name), ['sync'], { timeoutMs: 120_000 });
  }
  return AreaView.open(context, record);
}

/**
 * What a container has changed against its tree, sorted by path. Reads only, and works while the container runs.
 *
 * @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED
 */
export async function diffContainer(context: ServiceContext, name: string): Promise<ExplainedChange[]> {
  using view = await openSettledView(context, name);
  using reasons = new ChangeReasons(context, view);
  return new PrivateView(view.root.tree, view.records).rawChanges().map((found) => ({ ...withoutRawPath(found), ...reasons.of(found) }));
}

/** The same as an OCI layer would have it. @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED */
export async function diffInOciTerms(context: ServiceContext, name: string): Promise<OciChange[]> {
  using view = await openSettledView(context, name);
  return ociChanges(view);
}
