import { closeSync, existsSync, lstatSync, statSync } from 'node:fs';
import { TemplatefsError, errnoOf } from '../core/errors.js';
import type { TemplateRecord } from '../catalog/records.js';
import { openPrivateFile } from '../engine/open-private-file.js';
import type { ScanRecord } from '../engine/scan.js';
import { listBroken, type BrokenNote } from '../store/broken-objects.js';
import { importFolder } from '../store/import-folder.js';
import { importTarFile } from '../store/import-tar.js';
import { mendFromFile } from '../store/mend-from-file.js';
import { objectPath } from '../store/object-id.js';
import type { ServiceContext } from './context.js';
import { importFromDefinition } from './create-template.js';
import { importOptions } from './import-options.js';

/*
 * Where the content of a broken object is taken from, the cheapest first: private files of containers, the archives and
 * folders that templates came from, sources that the user names, and the bootstrap tool. None of them is believed: the
 * SHA-256 that was written down when the template was made decides. docs/decisions/0004-where-repairs-come-from.md.
 */

export interface RepairSources {
  /** Archives and folders that the user names. */
  readonly given: readonly string[];
  /** Whether to run the definitions of templates again. */
  readonly bootstrap: boolean;
}

/** Objects that are still missing at their place. */
function stillBroken(context: ServiceContext): BrokenNote[] {
  return listBroken(context.paths).filter(({ id }) => lstatSync(objectPath(context.paths, id), { throwIfNoEntry: false }) === undefined);
}

function mendFromContainers(context: ServiceContext, scans: ReadonlyMap<string, readonly ScanRecord[]>): void {
  const { paths, signal } = context;
  const bySize = new Map<number, BrokenNote[]>();
  for (const note of stillBroken(context)) {
    if (note.size === undefined || note.sum === undefined) continue;
    bySize.set(note.size, [...(bySize.get(note.size) ?? []), note]);
  }
  if (bySize.size === 0) return;
  for (const [container, records] of scans) {
    for (const { kind, path, sizeBytes } of records) {
      const notes = kind === 'file' ? bySize.get(sizeBytes) : undefined;
      if (notes === undefined || notes.length === 0) continue;
      signal?.throwIfAborted();
      const fd = openPrivateFile(paths, container, path);
      if (fd === undefined) continue;
      try {
        const mended = notes.find((note) => mendFromFile(paths, note, fd));
        if (mended !== undefined) bySize.set(sizeBytes, notes.filter((note) => note !== mended));
      } catch (error) {
        // A disk that cannot read this file, or a container that changes it, is no reason to give up the rest.
        if (error instanceof TemplatefsError || ['ENOSPC', 'EDQUOT', 'EROFS'].includes(errnoOf(error) ?? '')) throw error;
      } finally {
        closeSync(fd);
      }
    }
  }
}

/** @returns the digest of the tree that the source makes, where the whole of it was read for that */
async function readSource(context: ServiceContext, place: string, isGiven: boolean, treesWanted: boolean): Promise<string | undefined> {
  const { paths } = context;
  const wanted = stillBroken(context).map(({ id }) => id.hash);
  const status = statSync(place);
  const options = {
    ...importOptions(context, status.isFile() ? status.size : undefined),
    trustFingerprint: isGiven,
    ...(!treesWanted && { mendOnly: wanted }),
  };
  const { tree } = status.isDirectory() ? await importFolder(paths, place, options) : await importTarFile(paths, place, options);
  return treesWanted ? tree : undefined;
}

/** Does `work`, and goes on without it where the source is of no use. */
async function tryTo(context: ServiceContext, source: string, work: () => Promise<string | undefined>): Promise<string | undefined> {
  try {
    return await work();
  } catch (error) {
    context.signal?.throwIfAborted();
    if (error instanceof TemplatefsError && ['NO_SPACE', 'STORE_NOT_WRITABLE'].includes(error.code)) throw error;
    context.onNotice?.(`${source} could not be used: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/**
 * Mends broken objects and trees as far as the sources go. The caller holds the lock `store`, and settles what was mended.
 *
 * @param scans what the private areas hold, by container
 * @param trees digests of broken trees
 * @throws NO_SPACE, STORE_NOT_WRITABLE, IO_ERROR, INTERRUPTED; FAILED when a source that the user named is not there
 */
export async function repairObjects(
  context: ServiceContext,
  options: RepairSources & {
    readonly scans: ReadonlyMap<string, readonly ScanRecord[]>;
    readonly templates: readonly TemplateRecord[];
    readonly trees: ReadonlySet<string>;
  },
): Promise<void> {
  const left = new Set(options.trees);
  const isDone = (): boolean => left.size === 0 && stillBroken(context).length === 0;
  const noteTree = (tree: string | undefined): void => {
    if (tree !== undefined) left.delete(tree);
  };
  mendFromContainers(context, options.scans);
  for (const place of recordedSources(options.templates)) {
    if (isDone()) return;
    noteTree(await tryTo(context, place, () => readSource(context, place, false, left.size > 0)));
  }
  for (const place of options.given) {
    if (isDone()) return;
    noteTree(await tryTo(context, place, () => readSource(context, place, true, left.size > 0)));
  }
  if (!options.bootstrap) return;
  for (const { definition, name } of options.templates) {
    if (isDone()) return;
    if (definition === null) continue;
    const wanted = stillBroken(context).map(({ id }) => id.hash);
    noteTree(await tryTo(context, `the definition of ${name}`, async () => {
      const { tree } = await importFromDefinition(context, definition, left.size > 0 ? {} : { mendOnly: wanted });
      return left.size > 0 ? tree : undefined;
    }));
  }
}

/** Archives and folders that templates were imported from, as far as they are still there. */
function recordedSources(templates: readonly TemplateRecord[]): string[] {
  const places = templates.flatMap(({ source }) => /^(?:archive|folder) (\/.*)$/s.exec(source)?.[1] ?? []);
  return [...new Set(places)].filter((place) => existsSync(place));
}
