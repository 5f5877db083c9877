import { settledEngineState } from '../engine/engine-state.js';
import { controlRequest } from '../engine/control-client.js';
import { scanPrivateArea } from '../engine/scan.js';
import { TreeReader } from '../store/tree-reader.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { PrivateView, type Change } from './private-view.js';

/**
 * What a container has changed against its tree, sorted by path. Reads only, and works while the container runs.
 *
 * @throws CONTAINER_NOT_FOUND, BAD_TREE, INTEGRITY, ENGINE_FAILED
 */
export async function diffContainer(context: ServiceContext, name: string): Promise<Change[]> {
  const { paths, signal } = context;
  using opened = openForReading(context);
  const { tree } = findContainer(opened.catalog, name);
  // What was written a moment ago is still in the kernel's cache of the mount.
  if ((await settledEngineState(paths, name)).state === 'mounted') {
    await controlRequest(paths.controlSocket(name), ['sync'], { timeoutMs: 120_000 });
  }
  const records = await scanPrivateArea(paths, name, signal);
  const reader = TreeReader.open(paths.tree(tree));
  try {
    return new PrivateView(reader, records).changes();
  } finally {
    reader.close();
  }
}
