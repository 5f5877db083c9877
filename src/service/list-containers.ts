import { engineState } from '../engine/engine-state.js';
import { readMounts } from '../engine/mount-table.js';
import { openForReading, type ServiceContext } from './context.js';

/** One row of `list`. */
export interface ContainerSummary {
  readonly name: string;
  readonly ostemplate: string;
  readonly state: 'mounted' | 'stopped';
  /** The mount point; null while it is stopped. */
  readonly root: string | null;
  /** Of the engine that serves the root; null while it is stopped. */
  readonly engineVersion: string | null;
}

/** All containers, by name. Reads only. @throws BAD_CATALOG, IO_ERROR */
export async function listContainers(context: ServiceContext): Promise<ContainerSummary[]> {
  using opened = openForReading(context);
  const mounts = readMounts();
  return await Promise.all(
    opened.catalog.containers().map(async ({ name, template }) => {
      const found = await engineState(context.paths, name, mounts);
      const mounted = found.state === 'mounted';
      return {
        name,
        ostemplate: template,
        state: mounted ? ('mounted' as const) : ('stopped' as const),
        root: mounted ? found.engine.mountpoint : null,
        engineVersion: mounted ? found.engine.version : null,
      };
    }),
  );
}
