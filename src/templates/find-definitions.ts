import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../core/errors.js';
import type { TemplateKind } from './definition.js';
import { badDefinition } from './definition-text.js';

/** The folder of a set's own files when it has no further name. */
const DEFAULT_SET = 'default';
const SET_NAME = /^[a-z0-9][a-z0-9+.-]*$/;

/** A definition that was found, not read yet. */
export interface FoundDefinition {
  readonly name: string;
  /** vzpkg's other spelling of an app template: `php-debian-12-x86_64`. */
  readonly alias: string | undefined;
  readonly kind: TemplateKind;
  readonly folder: string;
  /** Name and folder of the OS template. */
  readonly os: { readonly name: string; readonly folder: string; readonly release: string; readonly architecture: string };
  /** An app template's set beside `default`: the folder that it inherits repositories from. */
  readonly appBase: string | undefined;
}

export interface SearchOptions {
  /** Folders that hold definitions, the first wins. Default: `defaultSearchPath`. */
  readonly searchPath?: readonly string[];
  /** A store, whose `definitions/` is searched after TEMPLATEFS_TEMPLATES. */
  readonly store?: string;
}

/** TEMPLATEFS_TEMPLATES (colon-separated), the store's own, then those that come with templatefs. */
export function searchPathOf(options: SearchOptions = {}): readonly string[] {
  if (options.searchPath !== undefined) return options.searchPath;
  const named = (process.env['TEMPLATEFS_TEMPLATES'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const shipped = fileURLToPath(new URL('../../templates', import.meta.url));
  return [...named, ...(options.store === undefined ? [] : [join(options.store, 'definitions')]), shipped];
}

async function listFolder(folder: string): Promise<Dirent[]> {
  try {
    return (await readdir(folder, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/** The sets in `os/` or in `app/NAME/`. @throws BAD_DEFINITION for anything that is no folder with a set's name */
async function listSets(folder: string): Promise<string[]> {
  const entries = await listFolder(folder);
  for (const entry of entries) {
    if (!entry.isDirectory() || !SET_NAME.test(entry.name)) {
      throw badDefinition(join(folder, entry.name), undefined, 'unknown entry; only folders named with a-z, 0-9 and + . - stand here');
    }
  }
  return entries.map((entry) => entry.name);
}

async function findIn(osFolder: string, osName: string, release: string, architecture: string): Promise<FoundDefinition[]> {
  for (const entry of await listFolder(osFolder)) {
    if (!entry.isDirectory() || (entry.name !== 'os' && entry.name !== 'app')) {
      throw badDefinition(join(osFolder, entry.name), undefined, 'unknown entry; only the folders os and app stand here');
    }
  }
  const os = { name: osName, folder: join(osFolder, 'os', DEFAULT_SET), release, architecture };
  const found: FoundDefinition[] = [];
  for (const set of await listSets(join(osFolder, 'os'))) {
    const isBase = set === DEFAULT_SET;
    found.push({
      name: isBase ? osName : `${osName}-${set}`,
      alias: undefined,
      kind: isBase ? 'os' : 'extra-os',
      folder: join(osFolder, 'os', set),
      os,
      appBase: undefined,
    });
  }
  for (const app of await listSets(join(osFolder, 'app'))) {
    for (const set of await listSets(join(osFolder, 'app', app))) {
      const appName = set === DEFAULT_SET ? app : `${app}-${set}`;
      found.push({
        name: `${osName}-${appName}`,
        alias: `${appName}-${osName}`,
        kind: 'app',
        folder: join(osFolder, 'app', app, set),
        os,
        appBase: set === DEFAULT_SET ? undefined : join(osFolder, 'app', app, DEFAULT_SET),
      });
    }
  }
  return found;
}

/**
 * Finds every definition on the search path, in the order of the path, then of names. Of several with one name the
 * first is meant.
 *
 * @throws BAD_DEFINITION for a folder `DISTRIBUTION-RELEASE-ARCH` with something in it that is no part of a definition
 */
export async function findDefinitions(options: SearchOptions = {}): Promise<FoundDefinition[]> {
  const byName = new Map<string, FoundDefinition>();
  for (const folder of searchPathOf(options)) {
    for (const entry of await listFolder(folder)) {
      const match = /^[a-z][a-z0-9+.-]*?-([0-9][a-z0-9.]*)-(x86_64|aarch64|i686|armv7l|ppc64le|riscv64|s390x)$/.exec(entry.name);
      const [, release, architecture] = match ?? [];
      if (release === undefined || architecture === undefined || !entry.isDirectory()) continue;
      for (const found of await findIn(join(folder, entry.name), entry.name, release, architecture)) {
        if (!byName.has(found.name)) byName.set(found.name, found);
      }
    }
  }
  return [...byName.values()];
}
