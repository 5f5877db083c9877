import { randomBytes } from 'node:crypto';
import { processStart } from '../catalog/process-identity.js';
import { TemplatefsError } from '../core/errors.js';
import { openForReading, orTell, type ServiceContext } from './context.js';
import { createUnfinished } from './create-container.js';
import { destroyContainer } from './destroy-container.js';
import { TEMPORARY_NAME } from './temporary-name.js';
import { endUnfinished } from './unfinished-container.js';

async function removeStale(context: ServiceContext): Promise<void> {
  const names = (() => {
    using opened = openForReading(context);
    return opened.catalog.containers().map(({ name }) => name);
  })();
  for (const name of names) {
    const match = TEMPORARY_NAME.exec(name);
    if (match?.[1] === undefined || processStart(Number(match[1])) === match[2]) continue;
    try {
      await destroyContainer(context, { name, force: true });
    } catch (error) {
      if (!(error instanceof TemplatefsError)) throw error; // another command does the same
    }
  }
}

/** A name for a container that this process makes for a while. */
export function temporaryName(): string {
  return `temporary-${process.pid}-${processStart(process.pid) ?? '0'}-${randomBytes(4).toString('hex')}`;
}

/** Without the signal: cleaning up goes on after an interrupt. */
export async function destroyTemporary({ paths }: ServiceContext, name: string): Promise<void> {
  await destroyContainer({ paths, waitMs: 30_000 }, { name, force: true });
}

/** Does `work` with a container of its own, which is gone afterwards. What killed commands left of this kind goes too. */
export async function withTemporaryContainer<Result>(context: ServiceContext, template: string, work: (name: string) => Promise<Result>): Promise<Result> {
  await removeStale(context);
  const name = temporaryName();
  const { journal } = await createUnfinished(context, { name, template });
  try {
    return await work(name);
  } finally {
    await orTell(context, `${name}, a container of this command, could not be removed, the next command does it`, async () => {
      await destroyTemporary(context, name);
      await endUnfinished(context, journal);
    });
  }
}
