import { existsSync, lstatSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Catalog } from '../catalog/catalog.js';
import { HeldLocks, acquireLock, removeLockFile } from '../catalog/lock.js';
import { TemplatefsError } from '../core/errors.js';
import { namesIn } from '../store/folder-names.js';
import { removeRunFiles } from '../engine/clean-dead-engine.js';
import { engineState } from '../engine/engine-state.js';
import { isLeftDraft } from '../store/draft-file.js';
import { staleStaging } from '../store/staging.js';
import type { ServiceContext } from './context.js';
import { removeFolder, removeSnapshots } from './journal.js';

/** Something that a killed command left, and how it is removed. */
export interface Leftover {
  readonly path: string;
  readonly allocatedBytes: number;
  /** @returns false if somebody is at it after all */
  readonly remove: () => Promise<boolean>;
}

/** Space of a file or a folder with all that is in it. Names are bytes. */
function allocatedBytes(path: Buffer | string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  let bytes = stat.blocks * 512;
  if (!stat.isDirectory()) return bytes;
  for (const name of readdirSync(path, { encoding: 'buffer' })) bytes += allocatedBytes(Buffer.concat([Buffer.from(path), Buffer.from('/'), name]));
  return bytes;
}

function leftover(path: string, remove: () => Promise<boolean> | boolean): Leftover {
  let bytes = 0;
  try {
    bytes = allocatedBytes(path);
  } catch {
    // It is going away by itself.
  }
  return { path, allocatedBytes: bytes, remove: async () => remove() };
}

/** Files that are being written by a process that is gone: `NAME.tmp-PID`. */
function temporaries(folder: string): Leftover[] {
  return namesIn(folder).flatMap((name) => {
    if (!isLeftDraft(name)) return [];
    const path = join(folder, name);
    return [leftover(path, () => {
      rmSync(path, { force: true });
      return true;
    })];
  });
}

/**
 * Parts of private areas that no journal entry tells of. An entry is made before such a folder and ends after it, so a folder
 * that was there before the journal was read, and is not in it, belongs to nobody.
 */
function strayAreas({ paths }: ServiceContext, catalog: Catalog): Leftover[] {
  const ofSnapshots = namesIn(paths.allSnapshots).flatMap((container) =>
    namesIn(paths.snapshots(container)).filter((name) => /^\.(?:new|trash)-\d+$/.test(name)).map((name) => `.snapshots/${container}/${name}`),
  );
  const names = [...namesIn(paths.privateAreas).filter((name) => /^\.(?:new|trash)-\d+-/.test(name)), ...ofSnapshots];
  const known = new Set(
    catalog.journal().flatMap(({ id, subject }) => [
      `.new-${id}-${subject}`, `.trash-${id}-${subject}`, `.snapshots/${subject}/.new-${id}`, `.snapshots/${subject}/.trash-${id}`,
    ]),
  );
  return names
    .filter((name) => !known.has(name))
    .map((name) => {
      const path = join(paths.privateAreas, name);
      return leftover(path, async () => {
        await removeFolder(path);
        return true;
      });
    });
}

/** Does `work` with the lock of a container that should not be there; not if it is there after all, or somebody is at it. */
async function withoutContainer({ paths }: ServiceContext, catalog: Catalog, name: string, work: () => void | Promise<void>): Promise<boolean> {
  try {
    using locks = new HeldLocks();
    locks.hold(await acquireLock({ paths, name: `container-${name}`, what: `container ${name}`, mode: 'exclusive', waitMs: 0 }));
    if (catalog.container(name) !== undefined || existsSync(paths.privateArea(name))) return false;
    if ((await engineState(paths, name)).state === 'mounted') return false;
    await work();
    return true;
  } catch (error) {
    if (error instanceof TemplatefsError && error.code === 'BUSY') return false;
    throw error;
  }
}

/** Run files, mount points and locks of containers that are no more. */
function ofGoneContainers(context: ServiceContext, catalog: Catalog): Leftover[] {
  const { paths } = context;
  const isGone = (name: string): boolean => !name.startsWith('.') && catalog.container(name) === undefined && !existsSync(paths.privateArea(name));
  const runs = namesIn(paths.runs).filter(isGone).map((name) => leftover(paths.run(name), () => withoutContainer(context, catalog, name, () => { removeRunFiles(paths, name); })));
  const roots = namesIn(paths.roots).filter(isGone).map((name) =>
    leftover(paths.root(name), () => withoutContainer(context, catalog, name, () => { removeEmptyFolder(paths.root(name)); })),
  );
  const snapshots = namesIn(paths.allSnapshots).filter(isGone).map((name) =>
    leftover(paths.snapshots(name), () => withoutContainer(context, catalog, name, () => removeSnapshots(paths, name))),
  );
  const locks = namesIn(paths.locks).flatMap((file) => {
    const name = /^(?:container|use)-(.*)$/.exec(file)?.[1];
    if (name === undefined || file.includes('.holder-') || file.endsWith('-journal') || !isGone(name)) return [];
    return [leftover(join(paths.locks, file), () => withoutContainer(context, catalog, name, () => { removeLockFile(paths, file); }))];
  });
  // The locks last: the others take them.
  return [...runs, ...roots, ...snapshots, ...locks];
}

function removeEmptyFolder(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Somebody has put something there, or mounted something.
  }
}

/** What killed commands left that no journal entry is about. */
export function findLeftovers(context: ServiceContext, catalog: Catalog): Leftover[] {
  const { paths } = context;
  const staged = staleStaging(paths).map((path) =>
    leftover(path, () => {
      rmSync(path, { recursive: true, force: true });
      return true;
    }),
  );
  const areas = namesIn(paths.privateAreas).filter((name) => !name.startsWith('.'));
  return [
    ...staged,
    ...temporaries(paths.templates),
    ...temporaries(paths.broken),
    ...areas.flatMap((name) => temporaries(paths.privateArea(name))),
    ...strayAreas(context, catalog),
    ...ofGoneContainers(context, catalog),
  ];
}
