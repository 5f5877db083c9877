import { existsSync } from 'node:fs';
import { Catalog } from '../catalog/catalog.js';
import { HeldLocks } from '../catalog/lock.js';
import type { SampleRecord } from '../catalog/records.js';
import { TemplatefsError } from '../core/errors.js';
import { lock, openForReading, type ServiceContext } from './context.js';
import { statistics, type Statistics } from './statistics.js';

/** What sharing saved at one time. Sizes are bytes. */
export interface Sample {
  /** ISO 8601. */
  readonly taken: string;
  /** The command that took it. */
  readonly reason: SampleRecord['reason'];
  readonly containers: number;
  readonly logicalBytes: number;
  readonly storedBytes: number;
  readonly objectBytes: number;
  readonly privateBytes: number;
  readonly linkedBytes: number;
  /** null: nobody looked at the page cache then. */
  readonly residentBytes: number | null;
  readonly withoutSharingBytes: number | null;
}

/** So many are kept: the older, the wider apart. */
const MOST_SAMPLES = 1000;
/** `stats` in a loop would push out what is worth keeping. */
const APART_MS = 60_000;

/** The samples of the store, oldest first. @throws BAD_CATALOG, IO_ERROR */
export function samplesOf(context: ServiceContext): Sample[] {
  using opened = openForReading(context);
  return opened.catalog.samples().map((one) => ({
    taken: one.taken,
    reason: one.reason,
    containers: one.containers,
    logicalBytes: one.logical,
    storedBytes: one.stored,
    objectBytes: one.objects,
    privateBytes: one.private,
    linkedBytes: one.linked,
    residentBytes: one.resident,
    withoutSharingBytes: one.unshared,
  }));
}

/** Keeps statistics of the whole store. Of no consequence where that cannot be done now. */
export async function keepSample(context: ServiceContext, reason: Sample['reason'], { disk, memory, containers }: Statistics): Promise<void> {
  if (!existsSync(context.paths.catalog)) return;
  try {
    using locks = new HeldLocks();
    locks.hold(await lock(context, { name: 'catalog', what: 'the catalog', mode: 'shared', waitMs: 0 }));
    using catalog = Catalog.open(context.paths, 'write');
    const last = catalog.samples().at(-1);
    const ageMs = last === undefined ? APART_MS : Date.now() - Date.parse(last.taken);
    if (reason === 'stats' && ageMs >= 0 && ageMs < APART_MS) return;
    catalog.addSample(
      {
        taken: new Date().toISOString(),
        reason,
        containers: containers.length,
        logical: disk.logicalBytes,
        stored: disk.storedBytes,
        objects: disk.objectBytes,
        private: disk.privateBytes,
        linked: disk.linkedBytes,
        resident: memory?.residentBytes ?? null,
        unshared: memory?.withoutSharingBytes ?? null,
      },
      MOST_SAMPLES,
    );
  } catch (error) {
    if (!(error instanceof TemplatefsError) || error.code === 'INTERRUPTED') throw error;
  }
}

/** After a command that has changed what is shared. What cannot be counted then is no failure of that command. */
export async function sampleAfter(context: ServiceContext, reason: Sample['reason']): Promise<void> {
  try {
    await keepSample(context, reason, await statistics(context, { noMemory: true }));
  } catch (error) {
    if (!(error instanceof TemplatefsError)) throw error;
    if (error.code !== 'INTERRUPTED') context.onNotice?.(`no sample was taken for the trend of \`templatefs stats\`: ${error.message}`);
  }
}
