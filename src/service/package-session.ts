import { openForReading, type ServiceContext } from './context.js';
import { findContainer, findTemplate } from './find-record.js';
import { openPackageHost } from './package-host.js';
import type { ContainerPrograms, PackageHost } from '../packages/package-manager.js';
import { packagePrograms } from './package-programs.js';
import { containerDefinitions, type ContainerDefinitions } from './package-source.js';
import { enterContainer, leaveContainer } from './use-container.js';

/** What it takes to ask a container for its packages. */
export interface PackageSession {
  readonly definitions: ContainerDefinitions;
  readonly programs: ContainerPrograms;
  readonly host: PackageHost;
}

/** Does `work`, which only looks, in a container; it is mounted for the time if need be. @throws as `exec`, and as definitions are read */
export async function withPackageSession<Result>(context: ServiceContext, name: string, work: (session: PackageSession) => Promise<Result>): Promise<Result> {
  const template = (() => {
    using opened = openForReading(context);
    return findTemplate(opened.catalog, findContainer(opened.catalog, name).template);
  })();
  const definitions = await containerDefinitions(context, name, template);
  const opened = openPackageHost(context);
  try {
    const { root, ids, use } = await enterContainer(context, name);
    try {
      const { signal } = context;
      const programs = packagePrograms({ name, root, ids, environment: definitions.os.environment, ...(signal !== undefined && { signal }) });
      return await work({ definitions, programs, host: opened.host });
    } finally {
      use.release();
      await leaveContainer(context, name);
    }
  } finally {
    await opened.close();
  }
}
