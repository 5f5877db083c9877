import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { NO_SHARED_PATH, parseSharedPaths, type SharedPaths } from '../core/shared-paths.js';
import { CACHE_SCRIPTS, PACKAGE_MANAGERS, TRANSACTION_SCRIPTS } from './definition.js';
import type { PackageManager, PackageStages, Repository, ScriptName, TemplateKind } from './definition.js';
import { badDefinition, listLines, readDefinitionText, readOptionalText, singleLine } from './definition-text.js';
import type { NumberedLine } from './definition-text.js';
import { readSecretRule, type SecretRule } from './secret-rules.js';
import type { UrlMap } from './url-map.js';

const COMMON_FILES = ['packages', 'repositories', 'mirrorlist', 'keys', 'environment', 'secrets', 'summary', 'description'];
const STAGE_FILES = ['packages_0', 'packages_1'];
const ROOT_FILES = ['shared_paths'];
const OS_FILES = ['package_manager', 'distribution', 'osrelease', 'upgradable_versions'];

const FILES: Readonly<Record<TemplateKind, readonly string[]>> = {
  os: [...COMMON_FILES, ...STAGE_FILES, ...ROOT_FILES, ...OS_FILES],
  'extra-os': [...COMMON_FILES, ...STAGE_FILES, ...ROOT_FILES],
  app: COMMON_FILES,
};
const SCRIPTS: Readonly<Record<TemplateKind, readonly ScriptName[]>> = {
  os: [...CACHE_SCRIPTS, ...TRANSACTION_SCRIPTS],
  'extra-os': [...CACHE_SCRIPTS, ...TRANSACTION_SCRIPTS],
  app: TRANSACTION_SCRIPTS,
};

/** What the files of one folder say, before inheritance. Undefined: there is no such file. */
export interface DefinitionFiles {
  readonly packageManager: PackageManager | undefined;
  readonly distribution: string | undefined;
  readonly osRelease: string | undefined;
  readonly upgradableVersions: readonly string[];
  readonly repositories: readonly Repository[];
  readonly mirrorLists: readonly string[];
  readonly keys: readonly string[];
  readonly packages: PackageStages;
  readonly environment: Readonly<Record<string, string>> | undefined;
  readonly scripts: Readonly<Partial<Record<ScriptName, string>>>;
  readonly sharedPaths: SharedPaths | undefined;
  readonly secrets: readonly SecretRule[];
  readonly summary: string | undefined;
  readonly description: string | undefined;
}

/** apt: name, name:arch, each with =version or /suite. The others: name, name.arch, name-version…, @group. */
const PACKAGE: Readonly<Record<PackageManager, RegExp>> = {
  apt: /^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?$/,
  dnf: /^@?[A-Za-z0-9_][A-Za-z0-9_.+:~^-]*$/,
  zypper: /^(pattern:)?[A-Za-z0-9_][A-Za-z0-9_.+:~^-]*$/,
};
const ENVIRONMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

function checkUrl(url: string, file: string, line: number): string {
  if (!/^(https?|ftp|file):\/\/[^\s[\]"'\\]+$/.test(url)) throw badDefinition(file, line, `not a URL: ${url}`, 'it begins with http://, https://, ftp:// or file:///');
  return url;
}

function readRepository(line: NumberedLine, file: string, manager: PackageManager, urls: UrlMap): Repository {
  const [first = '', ...rest] = line.text.split(/\s+/);
  const uri = checkUrl(urls.expand(first, file, line.number), file, line.number);
  if (manager !== 'apt') {
    if (rest.length > 0) throw badDefinition(file, line.number, `${manager} repositories are one URL a line`);
    return { uri, suite: '', components: [] };
  }
  const [suite, ...components] = rest;
  if (suite === undefined || components.length === 0) throw badDefinition(file, line.number, 'not of the form "URL SUITE COMPONENT..."');
  for (const word of rest) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._/-]*$/.test(word)) throw badDefinition(file, line.number, `not a suite or component: ${word}`);
  }
  return { uri, suite, components };
}

function readPackages(text: string | undefined, file: string, manager: PackageManager): string[] {
  const names: string[] = [];
  for (const line of listLines(text ?? '')) {
    for (const name of line.text.split(/\s+/)) {
      if (!PACKAGE[manager].test(name)) throw badDefinition(file, line.number, `not a package name for ${manager}: ${name}`);
      if (names.includes(name)) throw badDefinition(file, line.number, `package ${name} stands here twice`);
      names.push(name);
    }
  }
  return names;
}

function readEnvironment(text: string, file: string): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const line of listLines(text)) {
    const at = line.text.indexOf('=');
    const name = line.text.slice(0, at);
    if (at < 0 || !ENVIRONMENT_NAME.test(name)) throw badDefinition(file, line.number, `not of the form NAME=VALUE: ${line.text}`);
    if (name in environment) throw badDefinition(file, line.number, `${name} stands here twice`);
    environment[name] = line.text.slice(at + 1);
  }
  return environment;
}

function readSharedPaths(text: string, file: string): SharedPaths {
  const lines = listLines(text);
  if (lines.length === 0) throw badDefinition(file, undefined, 'names no path', 'write absolute paths, one a line, or the word none');
  for (const line of lines) {
    if (parseSharedPaths([line.text]) === undefined || (line.text === NO_SHARED_PATH && lines.length > 1)) {
      throw badDefinition(file, line.number, `not an absolute path: ${line.text}`, 'write absolute paths, one a line, or the word none alone');
    }
  }
  return parseSharedPaths(lines.map(({ text: path }) => path)) ?? [];
}

/** A script is an executable regular file that names its interpreter. */
async function checkScript(file: string): Promise<string> {
  const text = await readDefinitionText(file);
  if (!text.startsWith('#!/')) throw badDefinition(file, 1, 'a script begins with #! and the absolute path of its interpreter');
  if (((await lstat(file)).mode & 0o111) === 0) throw badDefinition(file, undefined, 'not executable', `chmod +x ${file}`);
  return file;
}

function readManager(text: string, file: string): PackageManager {
  const line = singleLine(text, file);
  const manager = PACKAGE_MANAGERS.find((known) => known === line.text);
  if (manager === undefined) throw badDefinition(file, line.number, `unknown package manager: ${line.text}`, `known are ${PACKAGE_MANAGERS.join(', ')}`);
  return manager;
}

/**
 * Reads the files of one folder of a definition.
 *
 * @param inheritedManager the package manager of the OS template, when `kind` is not `os`
 * @throws BAD_DEFINITION naming file and line for everything that is not as docs/templates.md says
 */
export async function readDefinitionFiles(folder: string, kind: TemplateKind, urls: UrlMap, inheritedManager?: PackageManager): Promise<DefinitionFiles> {
  const scripts: Partial<Record<ScriptName, string>> = {};
  for (const name of (await readdir(folder)).sort()) {
    const script = SCRIPTS[kind].find((known) => known === name);
    if (script !== undefined) scripts[script] = await checkScript(join(folder, name));
    else if (!FILES[kind].includes(name)) {
      const problem = FILES.os.includes(name) || SCRIPTS.os.some((known) => known === name) ? `does not belong to a template of kind ${kind}` : 'unknown file';
      throw badDefinition(join(folder, name), undefined, problem);
    }
  }
  const at = (name: string): string => join(folder, name);
  const required = async (name: string): Promise<string> => {
    const text = await readOptionalText(at(name));
    if (text === undefined) throw badDefinition(at(name), undefined, 'missing');
    return text;
  };
  const single = async (name: string, pattern: RegExp): Promise<string | undefined> => {
    const text = await readOptionalText(at(name));
    if (text === undefined) return undefined;
    const line = singleLine(text, at(name));
    if (!pattern.test(line.text)) throw badDefinition(at(name), line.number, `wrong value: ${line.text}`);
    return line.text;
  };
  const lines = async <T>(name: string, read: (line: NumberedLine, file: string) => T): Promise<T[]> =>
    listLines((await readOptionalText(at(name))) ?? '').map((line) => read(line, at(name)));

  const manager = kind === 'os' ? readManager(await required('package_manager'), at('package_manager')) : inheritedManager;
  if (manager === undefined) throw new Error('a template that is no OS template needs the package manager of its base');
  if (kind === 'os') await required('distribution');

  const repositories = await lines('repositories', (line, file) => readRepository(line, file, manager, urls));
  const mirrorLists = await lines('mirrorlist', (line, file) => {
    if (manager === 'apt') throw badDefinition(file, line.number, 'apt has no mirror lists', 'name a mirror in the file repositories');
    return checkUrl(urls.expand(line.text, file, line.number), file, line.number);
  });
  if (kind === 'os' && repositories.length + mirrorLists.length === 0) throw badDefinition(at('repositories'), undefined, 'no repository');

  const sharedText = await readOptionalText(at('shared_paths'));
  const environmentText = await readOptionalText(at('environment'));
  return {
    packageManager: manager,
    distribution: await single('distribution', /^[a-z][a-z0-9.-]*$/),
    osRelease: await single('osrelease', /^[0-9][A-Za-z0-9._+-]*$/),
    upgradableVersions: await lines('upgradable_versions', (line, file) => {
      if (!/^[0-9][a-z0-9.]*$/.test(line.text)) throw badDefinition(file, line.number, `not a release: ${line.text}`);
      return line.text;
    }),
    repositories,
    mirrorLists,
    keys: await lines('keys', (line, file) => {
      if (!/^\/[A-Za-z0-9._+/-]+\.(gpg|pgp|asc)$/.test(line.text) || line.text.includes('/../')) {
        throw badDefinition(file, line.number, `not the absolute path of a keyring (.gpg, .pgp, .asc): ${line.text}`);
      }
      return line.text;
    }),
    packages: {
      minimal: readPackages(await readOptionalText(at('packages_0')), at('packages_0'), manager),
      base: readPackages(await readOptionalText(at('packages_1')), at('packages_1'), manager),
      main: readPackages(await required('packages'), at('packages'), manager),
    },
    environment: environmentText === undefined ? undefined : readEnvironment(environmentText, at('environment')),
    scripts,
    sharedPaths: sharedText === undefined ? undefined : readSharedPaths(sharedText, at('shared_paths')),
    secrets: await lines('secrets', readSecretRule),
    summary: await single('summary', /^.{1,200}$/u),
    description: (await readOptionalText(at('description')))?.trim(),
  };
}
