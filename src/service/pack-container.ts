import type { Readable } from 'node:stream';
import { join } from 'node:path';
import { formatContainerFile, type ContainerFile } from '../catalog/container-file.js';
import { copyArea } from '../engine/copy-area.js';
import { packArea } from '../engine/pack-area.js';
import { settledEngineState } from '../engine/engine-state.js';
import { makeFolder, writeFileDurably } from '../store/write-file-durably.js';
import type { ServiceContext } from './context.js';
import { holdContainer } from './hold-container.js';
import { draftSnapshot, journaled } from './journal.js';
import { findSnapshot } from './list-snapshots.js';
import { flushRoot, requireContainerFile } from './snapshot-container.js';

/**
 * Reads the private area of a container, or of a snapshot `CT@ID`, as it is at one moment: of a running container a copy is read,
 * which is gone afterwards. `consume` gets its settings and the stream (docs/formats/area-stream.md). The caller holds the lock `store`
 * (shared).
 *
 * @throws CONTAINER_NOT_FOUND, SNAPSHOT_NOT_FOUND, BUSY, INTEGRITY, NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, ENGINE_FAILED, INTERRUPTED
 */
export async function packContainer(
  context: ServiceContext,
  area: string,
  consume: (settings: ContainerFile, stream: Readable) => Promise<void>,
): Promise<void> {
  const { paths, signal } = context;
  const [container = '', id] = area.split('@');
  using held = await holdContainer(context, container);
  const { catalog } = held;
  if (id !== undefined) findSnapshot(paths, container, id);
  const settings = requireContainerFile(paths, area);
  const read = (folder: string): Promise<void> => packArea(folder, (stream) => consume(settings, stream), signal);
  if (id !== undefined || (await settledEngineState(paths, container)).state === 'stopped') {
    await read(paths.privateArea(area));
    return;
  }
  await flushRoot(context, container);
  await journaled(paths, catalog, 'add-snapshot', container, async (entry) => {
    const draft = draftSnapshot(paths, entry);
    makeFolder(paths.snapshots(container));
    await copyArea(paths, area, draft, signal);
    writeFileDurably(join(draft, 'container'), formatContainerFile(settings));
    await read(draft);
  });
}
