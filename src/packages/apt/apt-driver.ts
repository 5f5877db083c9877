import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { TemplatefsError } from '../../core/errors.js';
import { makeFolders } from '../../store/make-folders.js';
import type { Repository } from '../../templates/definition.js';
import {
  INPUT_FOLDER,
  WORK_FOLDER,
  type ContainerAnswer,
  type ContainerPrograms,
  type InstalledPackage,
  type PackageChange,
  type PackageFile,
  type PackageHost,
  type PackageManagerDriver,
  type PackagePlan,
  type PackageRequest,
  type PackageSource,
} from '../package-manager.js';
import { queryContents, type ContentsQuery } from '../package-contents.js';
import { SECRET_PATHS } from '../secrets.js';
import { aptMetadata, debianArchitecture, refreshApt, type RepositoryMetadata } from './apt-metadata.js';
import { aptErrors, archiveName, listName, parseSimulation, type AptChange } from './apt-output.js';
import { relationNames } from './control-paragraphs.js';
import { PackageIndex, reachable, type IndexedPackage } from './package-index.js';

/*
 * apt and dpkg of the container, as they are. They get a configuration, lists and packages of ours in INPUT_FOLDER; their own
 * sources.list, lists and archives are neither used nor changed.
 */

const CONFIGURATION = `Dir::Etc::sourcelist "${INPUT_FOLDER}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "${INPUT_FOLDER}/lists/";
Dir::Cache "${WORK_FOLDER}/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Log::Planner "/dev/null";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Keep-Downloaded-Packages "true";
APT::Cmd::Disable-Script-Warning "true";
Dpkg::Use-Pty "false";
Dpkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; };
`;

/** Names of apt-get's own commands and options, after the shell's \`$@\`. */
const PREPARE = `set -e
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true APT_LISTCHANGES_FRONTEND=none
mkdir -p ${WORK_FOLDER}/archives/partial
apt() { apt-get -c ${INPUT_FOLDER}/apt.conf "$@"; }
`;

const PLAN = `${PREPARE}apt --simulate "$@"\n`;

/** Without others that depend on them first; then with what was only there for them. */
const PLAN_REMOVE = `${PREPARE}apt --simulate remove "$@"
echo '-- with what nobody needs any more'
apt --simulate --auto-remove remove "$@"
`;

/**
 * A stopped container starts no services: policy-rc.d says so, unless the container has its own. The trap takes it away again; if
 * the script is killed, the transaction is rolled back.
 */
const APPLY = `${PREPARE}
for package in ${INPUT_FOLDER}/packages/*.deb; do
  [ ! -e "$package" ] || ln -s "$package" ${WORK_FOLDER}/archives/
done
policy=/usr/sbin/policy-rc.d
if [ "$TEMPLATEFS_SERVICES" = none ] && [ ! -e $policy ] && [ ! -L $policy ]; then
  printf '#!/bin/sh\\nexit 101\\n' > $policy
  chmod 0755 $policy
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
status=0
apt "$@" || status=$?
exit $status
`;

const QUERY = `export LC_ALL=C
exec dpkg-query --show --showformat '\${db:Status-Status} \${Package} \${Version} \${Architecture}\\n'
`;

/** A changed file has a 5 in the third column. Lists of packages may have names from before /bin became a link. */
const QUERY_UNOWNED = `export LC_ALL=C
cd ${WORK_FOLDER} 2>/dev/null || { mkdir -p ${WORK_FOLDER} && cd ${WORK_FOLDER}; } || exit
cat /var/lib/dpkg/info/*.list > listed || exit
dpkg --verify > verified
for path in "$@"; do
  if grep -qxF -e "$path" -e "\${path#/usr}" listed && ! grep '^..5' verified | grep -qF -e " $path"; then continue; fi
  printf '%s\\0' "$path"
done
`;

const QUERY_FILES = `export LC_ALL=C
for file in "$@"; do dpkg-deb --showformat '\${Pre-Depends}\\n\${Depends}\\n\${Recommends}\\n' --show "$file" || exit; done
`;

/** What is coming lists its folders with a slash. Configuration stays when its package goes, and when the next version has none of it. */
const QUERY_CONTENTS = `export LC_ALL=C
mkdir -p ${WORK_FOLDER} && cd ${WORK_FOLDER} || exit
count() { grep -cxE '(\\./)?(preinst|postinst|prerm|postrm|config|triggers)' || :; }
for package in ${INPUT_FOLDER}/contents/*; do
  [ -e "$package" ] || continue
  name=$(dpkg-deb --field "$package" Package) || exit
  echo "coming $name $(dpkg-deb --ctrl-tarfile "$package" | tar --list | count)"
  dpkg-deb --fsys-tarfile "$package" | tar --list --quoting-style=literal | sed -n 's,^\\./,/,; /\\/$/s,^/,d /,p; s,^/,p /,p'
  dpkg-deb --ctrl-tarfile "$package" | tar --extract --to-stdout ./conffiles 2>/dev/null | sed -n 's,^/,c /,p'
done
for name in "$@"; do
  bare=\${name%%:*}
  echo "going $bare $(for place in /var/lib/dpkg/info/"$bare".* /var/lib/dpkg/info/"$name".*; do echo "\${place##*.}"; done | count)"
  dpkg-query --show --showformat '\${Conffiles}\n' "$name" | sed -n 's,^ \\(/.*\\) [0-9a-f]\\{32\\}\\( .*\\)*$,p \\1,p' > kept
  dpkg-query --listfiles "$name" | sed -n 's,^/,p /,p' | grep -vxF -f kept || :
done
rm -f kept
`;

/** apt reads a `file:` repository from its path, which is the host's. In the container it gets this name. */
function uriInContainer(uri: string): string {
  return uri.startsWith('file:') ? uri.replace(/^file:\/*/, 'http://file.invalid/') : uri;
}

function sourcesLine({ uri, suite, components }: Repository, arch: string): string {
  // Trusted: the host has checked it; the container could say what it likes.
  return `deb [trusted=yes arch=${arch}] ${uriInContainer(uri)} ${suite} ${components.join(' ')}\n`;
}

interface OpenedMetadata extends Disposable {
  readonly metadata: readonly RepositoryMetadata[];
  readonly indexes: readonly PackageIndex[];
}

function openMetadata(host: PackageHost, source: PackageSource): OpenedMetadata {
  const metadata = aptMetadata(host, source);
  const indexes: PackageIndex[] = [];
  const close = (): void => {
    for (const index of indexes) index[Symbol.dispose]();
  };
  try {
    for (const { indexFile } of metadata) indexes.push(new PackageIndex(indexFile));
  } catch (error) {
    close();
    throw error;
  }
  return { metadata, indexes, [Symbol.dispose]: close };
}

/** What the container's apt is shown: configuration, sources, and of the lists what concerns the request. */
function writeInput(folder: string, source: PackageSource, opened: OpenedMetadata, names: Iterable<string>): void {
  const arch = debianArchitecture(source);
  const lists = join(folder, 'lists');
  makeFolders(join(lists, 'partial'));
  writeFileSync(join(folder, 'apt.conf'), CONFIGURATION);
  writeFileSync(join(folder, 'sources.list'), opened.metadata.map(({ repository }) => sourcesLine(repository, arch)).join(''));
  const found = reachable(opened.indexes, names);
  for (const [at, { repository, inRelease }] of opened.metadata.entries()) {
    const base = listName(`${uriInContainer(repository.uri)}/dists/${repository.suite}`);
    writeFileSync(join(lists, `${base}_InRelease`), inRelease, 'latin1');
    for (const component of repository.components) {
      const paragraphs = (found[at] ?? []).filter((candidate) => candidate.component === component).map(({ text }) => `${text}\n\n`);
      writeFileSync(join(lists, `${base}_${component.replaceAll('/', '_')}_binary-${arch}_Packages`), paragraphs.join(''));
    }
  }
  chmodSync(folder, 0o755);
}

/** Where local files stand in the container. */
function localPath(file: string): string {
  return `${INPUT_FOLDER}/files/${basename(file)}`;
}

function copyLocalFiles(folder: string, files: readonly string[]): void {
  mkdirSync(join(folder, 'files'));
  for (const file of files) {
    const path = join(folder, 'files', basename(file));
    copyFileSync(file, path);
    chmodSync(path, 0o444);
  }
}

/** A name that ends with `-` would mean to apt: remove this one. */
function checkNames(names: readonly string[]): void {
  for (const name of names) {
    if (/^[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?$/.test(name) && !name.endsWith('-')) continue;
    throw new TemplatefsError('USAGE', `not a package name for apt: ${JSON.stringify(name)}`, { hint: 'NAME, NAME:ARCHITECTURE or NAME=VERSION' });
  }
}

function commandOf(request: PackageRequest): string[] {
  switch (request.kind) {
    case 'install':
      return [
        ...(request.force === true ? ['--reinstall', '--allow-downgrades', '--allow-change-held-packages'] : []),
        'install', ...request.packages, ...request.groups.map((group) => `${group}^`), ...request.files.map(localPath),
      ];
    case 'update':
      return request.packages.length === 0 ? ['--with-new-pkgs', 'upgrade'] : ['--only-upgrade', 'install', ...request.packages];
    case 'remove':
      return ['--auto-remove', 'remove', ...request.packages];
  }
}

/** What local files need: the container's dpkg reads them. */
async function neededByFiles(programs: ContainerPrograms, folder: string, files: readonly string[]): Promise<string[]> {
  if (files.length === 0) return [];
  const answer = await programs.run({ script: QUERY_FILES, arguments: files.map(localPath), input: folder });
  if (answer.status !== 0) throw failure('reading the package files', answer);
  return answer.output.split('\n').flatMap(relationNames);
}

/** The names from which apt starts: those of the request, and all that is installed. */
async function seeds(programs: ContainerPrograms, folder: string, request: PackageRequest, opened: OpenedMetadata): Promise<string[]> {
  const bare = (name: string): string => name.replace(/[:=/].*$/, '');
  const asked = request.packages.map(bare);
  const there = (await installed(programs)).map(({ name }) => name);
  if (request.kind !== 'install') return [...asked, ...there];
  const tasks = request.groups.flatMap((group) => opened.indexes.flatMap((index) => index.ofTask(group)));
  copyLocalFiles(folder, request.files);
  return [...asked, ...tasks, ...(await neededByFiles(programs, folder, request.files)), ...there];
}

function failure(what: string, answer: ContainerAnswer): TemplatefsError {
  const errors = aptErrors(`${answer.output}\n${answer.errors}`);
  const text = errors.slice(0, 4).join('; ');
  const missing = errors.find((line) => /^(Unable to locate package|Version .* was not found|Couldn't find (any package|task)|Package .* has no installation candidate|Package .* is not installed)/.test(line));
  if (missing !== undefined) return new TemplatefsError('PACKAGE_NOT_FOUND', missing, { hint: 'check the name and the definition’s repositories; what the mirrors have is fetched anew with --refresh' });
  if (/No space left on device|Disk quota exceeded/.test(`${answer.output}\n${answer.errors}`)) {
    return new TemplatefsError('NO_SPACE', `no space left while apt worked: ${text}`, { hint: 'free some space on the file system of the store, or raise the container’s quota (templatefs quota CT)' });
  }
  return new TemplatefsError('PACKAGE_MANAGER_FAILED', `${what} failed${answer.status > 128 ? ` (signal ${answer.status - 128})` : ` (exit status ${answer.status})`}${text === '' ? '' : `: ${text}`}`, {
    hint: 'its whole output is shown without --quiet; the container is as it was before',
  });
}

async function installed(programs: ContainerPrograms): Promise<InstalledPackage[]> {
  const answer = await programs.run({ script: QUERY });
  if (answer.status !== 0) throw failure('dpkg-query', answer);
  return answer.output.split('\n').flatMap((line) => {
    const [status, name, version, architecture, more] = line.split(' ');
    const isThere = status === 'installed' || status === 'triggers-pending' || status === 'triggers-awaited';
    if (!isThere || name === undefined || version === undefined || architecture === undefined || more !== undefined) return [];
    return /^[a-z0-9][a-z0-9+.-]*$/.test(name) ? [{ name, version, architecture }] : [];
  });
}

/** Where the signed metadata say that a package lies. @throws INTEGRITY */
function locate(change: AptChange, opened: OpenedMetadata): PackageFile {
  const isIt = (candidate: IndexedPackage): boolean => candidate.version === change.to && candidate.arch === change.architecture;
  for (const [at, index] of opened.indexes.entries()) {
    const candidate = index.named(change.name).find(isIt);
    const repository = opened.metadata[at]?.repository;
    if (candidate === undefined || repository === undefined) continue;
    return {
      fileName: archiveName(candidate.name, candidate.version, candidate.arch),
      url: `${repository.uri}/${candidate.filename.replace(/^\.\//, '')}`,
      sha256: candidate.sha256,
      sizeBytes: candidate.size,
    };
  }
  throw new TemplatefsError('INTEGRITY', `the container's apt wants ${change.name} ${change.to ?? ''} (${change.architecture}), which no signed repository has`, {
    hint: 'look at apt’s settings in the container, and at the container itself: its apt may have been tampered with',
  });
}

/** apt would take packages along that need the ones to be removed. */
function checkDependants(request: PackageRequest, alone: readonly AptChange[]): void {
  if (request.kind !== 'remove' || request.withDependants) return;
  const asked = new Set(request.packages.map((name) => name.replace(/[:=/].*$/, '')));
  const others = alone.filter(({ name, action }) => action === 'remove' && !asked.has(name)).map(({ name }) => name);
  if (others.length === 0) return;
  throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `${[...asked].join(', ')}: needed by ${others.slice(0, 10).join(', ')}${others.length > 10 ? ` and ${others.length - 10} more` : ''}`, {
    hint: 'remove these too with --with-dependants, or leave it',
  });
}

async function simulate(
  host: PackageHost,
  programs: ContainerPrograms,
  source: PackageSource,
  request: PackageRequest,
  opened: OpenedMetadata,
): Promise<AptChange[]> {
  checkNames([...request.packages, ...(request.kind === 'install' ? request.groups : [])]);
  const folder = await host.makeWorkFolder();
  writeInput(folder, source, opened, await seeds(programs, folder, request, opened));
  const isRemoval = request.kind === 'remove';
  const answer = await programs.run({ script: isRemoval ? PLAN_REMOVE : PLAN, arguments: isRemoval ? request.packages : commandOf(request), input: folder });
  if (answer.status !== 0) throw failure('resolving', answer);
  if (!isRemoval) return parseSimulation(answer.output);
  const [alone = '', all = ''] = answer.output.split('-- with what nobody needs any more\n');
  checkDependants(request, parseSimulation(alone));
  return parseSimulation(all);
}

async function plan(host: PackageHost, programs: ContainerPrograms, source: PackageSource, request: PackageRequest): Promise<PackagePlan> {
  using opened = openMetadata(host, source);
  const changes = await simulate(host, programs, source, request, opened);
  const downloads = changes.filter(({ to, local }) => to !== null && !local).map((change) => locate(change, opened));
  return { changes: changes.map(({ name, architecture, action, from, to }) => ({ name, architecture, action, from, to })), downloads };
}

const CONTENTS: ContentsQuery = {
  script: QUERY_CONTENTS,
  nameOf: ({ name, architecture }) => (architecture === '' || architecture === 'all' ? name : `${name}:${architecture}`),
  failure,
};

/** Steps of dpkg that are worth a tick of the progress bar. */
const STEP = /^(Unpacking|Setting up|Removing) [a-z0-9]/;

export const aptDriver: PackageManagerDriver = {
  name: 'apt',
  secretPaths: SECRET_PATHS,
  refresh: (host, source, { maxAgeMs }) => refreshApt(host, source, maxAgeMs),
  installed,
  plan,

  async unowned(programs, paths) {
    const answer = await programs.run({ script: QUERY_UNOWNED, arguments: paths });
    if (answer.status !== 0) throw failure('dpkg', answer);
    return answer.output.split('\0').filter((path) => paths.includes(path));
  },

  async apply(host, programs, source, { request, plan: planned, fetched }) {
    using opened = openMetadata(host, source);
    const folder = await host.makeWorkFolder();
    writeInput(folder, source, opened, await seeds(programs, folder, request, opened));
    mkdirSync(join(folder, 'packages'));
    host.cache.linkInto(fetched, join(folder, 'packages'));
    const total = planned.changes.reduce((sum, { to }) => sum + (to === null ? 1 : 2), 0);
    let done = 0;
    const answer = await programs.run({
      script: APPLY,
      // There is no network. But apt takes local files for downloads, by its method `file`.
      arguments: [...(request.kind === 'install' && request.files.length > 0 ? [] : ['--no-download']), ...commandOf(request)],
      input: folder,
      onLine: (line) => {
        host.onLog?.(line);
        if (STEP.test(line)) host.onProgress?.({ step: 'installing packages', done: Math.min(++done, total), total, unit: 'items' });
      },
    });
    if (answer.status !== 0) throw failure('apt-get', answer);
  },

  contents: (host, options) => queryContents(host, CONTENTS, options),

  async outdated(host, programs, source): Promise<PackageChange[]> {
    using opened = openMetadata(host, source);
    const changes = await simulate(host, programs, source, { kind: 'update', packages: [] }, opened);
    return changes.filter(({ action }) => action === 'upgrade');
  },
};
