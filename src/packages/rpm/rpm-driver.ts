import { chmodSync, copyFileSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { TemplatefsError } from '../../core/errors.js';
import { findExecutable } from '../../sandbox/find-executable.js';
import { makeFolders } from '../../store/make-folders.js';
import {
  INPUT_FOLDER,
  WORK_FOLDER,
  type ContainerPrograms,
  type FetchedPackage,
  type InstalledPackage,
  type PackageChange,
  type PackageFile,
  type PackageHost,
  type PackageManagerDriver,
  type PackageRequest,
  type PackageSource,
} from '../package-manager.js';
import { queryContents } from '../package-contents.js';
import { runTool } from '../run-tool.js';
import { findInPrimary, packageId, type OfferedPackage } from './find-in-primary.js';
import { refreshRpm, rpmMetadata, writeLocalRepository, type RepositoryMetadata } from './rpm-metadata.js';
import { checkPackageSignatures } from './rpm-keyring.js';
import { PACKAGE_NAME, type RpmProposal, type RpmStep, type RpmTool } from './rpm-tool.js';

/*
 * rpm with dnf or zypper of the container, as they are. The host makes a local repository of each one of the definition, which
 * holds the metadata that it has checked and, for `apply`, the packages of the plan. The container's package manager resolves and
 * installs on those, without network.
 */

const QUERY = `export LC_ALL=C.UTF-8
exec rpm \${TEMPLATEFS_ROOT:+--root "$TEMPLATEFS_ROOT"} -qa --queryformat '%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\\n'
`;

/** A changed file has a 5 in the third column. */
const QUERY_UNOWNED = `export LC_ALL=C.UTF-8
mkdir -p ${WORK_FOLDER} && cd ${WORK_FOLDER} || exit
rpm -qal > listed || exit
rpm -Va --nodeps --noscripts > verified
for path in "$@"; do
  if grep -qxF -e "$path" listed && ! grep '^..5' verified | grep -qF -e " $path"; then continue; fi
  printf '%s\\0' "$path"
done
`;

/** Flags of a file: 1 is configuration, 64 is what the package only names. Of modes the first digits are the type. */
const QUERY_CONTENTS = `export LC_ALL=C.UTF-8
format='%{NAME} %|PREINPROG?{1}:{}|%|POSTINPROG?{1}:{}|%|PREUNPROG?{1}:{}|%|POSTUNPROG?{1}:{}|%|PRETRANSPROG?{1}:{}|%|POSTTRANSPROG?{1}:{}|%|TRIGGERNAME?{1}:{}|0\n[%{FILEFLAGS} %{FILEMODES:octal} %{FILENAMES}\n]'
lines() {
  while IFS=' ' read -r flags mode path; do
    case $path in /*) ;; *) echo "$1 $flags $mode"; continue ;; esac
    [ $((flags & 64)) = 0 ] || [ "$1" = going ] || continue
    case $mode in 4[0-7][0-7][0-7][0-7]|04*) echo "d $path" ;; *) echo "p $path" ;; esac
    [ $((flags & 1)) = 0 ] || echo "c $path"
  done
}
for package in ${INPUT_FOLDER}/contents/*; do
  [ ! -e "$package" ] || rpm --nosignature --nodigest -qp --queryformat "$format" "$package" | lines coming
done
for name in "$@"; do rpm -q --queryformat "$format" "$name" | lines going; done
`;

/** [epoch:]version-release, an epoch of 0 left out. */
function versionText(epoch: string | undefined, version: string, release: string): string {
  return `${epoch === undefined || epoch === '0' || epoch === '(none)' ? '' : `${epoch}:`}${version}-${release}`;
}

/** The same package in the words of {@link packageId}. @throws INTEGRITY for a version that is none */
function idOf(name: string, evr: string, architecture: string): string {
  const [, epoch, version, release] = /^(?:(\d+):)?([^:-]+)-([^:-]+)$/.exec(evr) ?? [];
  if (version === undefined || release === undefined) throw new TemplatefsError('INTEGRITY', `not the version of a package: ${JSON.stringify(evr)}`, { hint: 'the container’s package manager may have been tampered with' });
  return packageId({ name, epoch, version, release, architecture });
}

const repositoryName = (at: number): string => `repository-${at + 1}`;

/** What the container's package manager is shown. */
function writeInput(tool: RpmTool, folder: string, metadata: readonly RepositoryMetadata[], request: PackageRequest, step: RpmStep): void {
  const repositories = metadata.map((one, at) => {
    writeLocalRepository(join(folder, repositoryName(at)), one);
    const name = one.baseUrl.replace(/^[a-z]+:\/\//, '');
    return [`[templatefs-${at + 1}]`, `name=${name}`, `baseurl=${tool.folderScheme}://${INPUT_FOLDER}/${repositoryName(at)}`, 'enabled=1', 'type=rpm-md', ...tool.repositoryOptions, ''].join('\n');
  });
  mkdirSync(join(folder, 'repos.d'));
  writeFileSync(join(folder, 'repos.d/templatefs.repo'), repositories.join('\n'));
  for (const [name, text] of Object.entries(step.files ?? {})) writeFileSync(join(folder, name), text);
  if (request.kind === 'install' && request.files.length > 0) {
    mkdirSync(join(folder, 'files'));
    for (const file of request.files) {
      const path = join(folder, 'files', basename(file));
      copyFileSync(file, path);
      chmodSync(path, 0o444);
    }
  }
  chmodSync(folder, 0o755);
}

function checkRequest(tool: RpmTool, request: PackageRequest): void {
  const names = [...request.packages, ...(request.kind === 'install' ? request.groups : [])];
  for (const name of names) {
    if (tool.isName(name)) continue;
    throw new TemplatefsError('USAGE', `not a package name for ${tool.name}: ${JSON.stringify(name)}`, { hint: 'NAME, NAME.ARCHITECTURE or NAME-VERSION' });
  }
  if (request.kind !== 'install') return;
  for (const file of request.files) {
    if (/^[A-Za-z0-9_][A-Za-z0-9_.+:~^-]*\.rpm$/.test(basename(file))) continue;
    throw new TemplatefsError('USAGE', `not the file of a package: ${file}`, { hint: 'its name ends with .rpm, and has no blanks' });
  }
}

/** Where the signed metadata say that packages lie. @throws INTEGRITY for one that they do not have */
async function locate(tool: RpmTool, changes: readonly PackageChange[], local: ReadonlySet<string>, metadata: readonly RepositoryMetadata[]): Promise<PackageFile[]> {
  const coming = changes.filter(({ to }) => to !== null).map(({ name, to, architecture }) => idOf(name, to ?? '', architecture));
  const wanted = new Set(coming.filter((id) => !local.has(id)));
  const files: PackageFile[] = [];
  for (const [at, one] of metadata.entries()) {
    if (wanted.size === 0) break;
    for (const offered of (await findInPrimary(one.pathOf(one.repomd.primary), wanted, one.baseUrl)).values()) {
      wanted.delete(offered.id);
      files.push({ fileName: fileNameOf(at, offered), url: `${one.baseUrl}/${offered.href}`, sha256: offered.sha256, sizeBytes: offered.sizeBytes });
    }
  }
  const [missing] = wanted;
  if (missing === undefined) return files;
  throw new TemplatefsError('INTEGRITY', `the container's ${tool.name} wants ${missing}, which no signed repository has`, {
    hint: `look at ${tool.name}’s settings in the container, and at the container itself: its ${tool.name} may have been tampered with`,
  });
}

/** The packages in files of the host. The container is not asked: it could call any package one of these. @throws FAILED */
async function packagesIn(files: readonly string[]): Promise<Set<string>> {
  if (files.length === 0) return new Set();
  const rpm = await findExecutable({ name: 'rpm', debianPackage: 'rpm', purpose: 'read package files' });
  const { status, stdout, stderr } = await runTool({ file: rpm, args: ['--nosignature', '-qp', '--queryformat', '%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\\n', '--', ...files] });
  if (status !== 0) throw new TemplatefsError('FAILED', `not the file of a package: ${stderr.trim().split('\n')[0] ?? ''}`, { hint: 'name .rpm files' });
  return new Set(stdout.trim().split('\n').map((line) => {
    const [name = '', epoch, version = '', release = '', architecture = ''] = line.split(' ');
    return packageId({ name, epoch, version, release, architecture });
  }));
}

/** A package's place below INPUT_FOLDER, where its repository's metadata say that it is. */
function fileNameOf(at: number, { href }: OfferedPackage): string {
  return `${repositoryName(at)}/${href}`;
}

async function installed(programs: ContainerPrograms): Promise<InstalledPackage[]> {
  const answer = await programs.run({ script: QUERY });
  if (answer.status !== 0) {
    throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `rpm cannot list the packages (exit status ${answer.status}): ${answer.errors.trim().split('\n').at(-1) ?? ''}`, { hint: 'look at the database of rpm in the container: templatefs exec CT -- rpm --verifydb' });
  }
  return answer.output.split('\n').flatMap((line) => {
    const [name = '', epoch, version = '', release = '', architecture = '', more] = line.split(' ');
    if (name === 'gpg-pubkey' || more !== undefined || ![name, version, release, architecture].every((word) => PACKAGE_NAME.test(word))) return [];
    return [{ name, version: versionText(epoch, version, release), architecture }];
  });
}

/** A driver for one of the package managers of rpm. */
export function rpmDriver(tool: RpmTool): PackageManagerDriver {
  const propose = async (host: PackageHost, programs: ContainerPrograms, request: PackageRequest, metadata: readonly RepositoryMetadata[], source: PackageSource): Promise<RpmProposal> => {
    checkRequest(tool, request);
    const folder = await host.makeWorkFolder();
    const step = tool.plan(request);
    writeInput(tool, folder, metadata, request, step);
    return tool.readPlan(request, await programs.run({ script: step.script, arguments: step.arguments ?? [], input: folder, environment: { TEMPLATEFS_RELEASE: source.release } }));
  };

  return {
    name: tool.name,
    secretPaths: [
      '/etc/machine-id', '/var/lib/dbus/machine-id', '/var/lib/systemd/random-seed', '/var/lib/systemd/credential.secret',
      '/etc/ssh/ssh_host_*', '/etc/pki/tls/private/**', '/etc/rndc.key', '/var/lib/zypp/AnonymousUniqueId', '/etc/zypp/credentials.d/**',
    ],
    refresh: (host, source, { maxAgeMs }) => refreshRpm(host, source, maxAgeMs),
    installed,

    async plan(host, programs, source, request) {
      const metadata = await rpmMetadata(host, source);
      const { changes, dependants } = await propose(host, programs, request, metadata, source);
      if (request.kind === 'remove' && !request.withDependants && dependants.length > 0) {
        throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `${request.packages.join(', ')}: needed by ${dependants.slice(0, 10).join(', ')}${dependants.length > 10 ? ` and ${dependants.length - 10} more` : ''}`, {
          hint: 'remove these too with --with-dependants, or leave it',
        });
      }
      const local = await packagesIn(request.kind === 'install' ? request.files : []);
      return { changes, downloads: await locate(tool, changes, local, metadata) };
    },

    async apply(host, programs, source, { request, plan, fetched }) {
      const folder = await host.makeWorkFolder();
      // The sum proves that a package is the one that the metadata name; that somebody has signed it, only its signature does.
      await checkPackageSignatures(fetched, { keys: source.keys, workFolder: await host.makeWorkFolder(), ...(host.signal !== undefined && { signal: host.signal }) });
      const step = tool.apply(request, plan.changes);
      writeInput(tool, folder, await rpmMetadata(host, source), request, step);
      linkPackages(fetched, folder);
      const total = plan.changes.length;
      let done = 0;
      const answer = await programs.run({
        script: step.script,
        arguments: step.arguments ?? [],
        input: folder,
        environment: { TEMPLATEFS_RELEASE: source.release },
        onLine: (line) => {
          host.onLog?.(line);
          if (tool.step.test(line)) host.onProgress?.({ step: 'installing packages', done: Math.min(++done, total), total, unit: 'items' });
        },
      });
      if (answer.status !== 0) throw tool.failure(tool.name, answer);
    },

    async unowned(programs, paths) {
      const answer = await programs.run({ script: QUERY_UNOWNED, arguments: paths });
      if (answer.status !== 0) throw tool.failure('rpm', answer);
      return answer.output.split('\0').filter((path) => paths.includes(path));
    },

    contents: (host, options) =>
      queryContents(host, {
        script: QUERY_CONTENTS,
        nameOf: ({ name, from, architecture }) => `${name}-${(from ?? '').replace(/^\d+:/, '')}.${architecture}`,
        failure: (what, answer) => tool.failure(what, answer),
      }, options),

    async outdated(host, programs, source): Promise<PackageChange[]> {
      const { changes } = await propose(host, programs, { kind: 'update', packages: [] }, await rpmMetadata(host, source), source);
      return changes.filter(({ action }) => action === 'upgrade');
    },
  };
}

function linkPackages(fetched: readonly FetchedPackage[], folder: string): void {
  for (const { path, fileName } of fetched) {
    const place = join(folder, fileName);
    makeFolders(dirname(place));
    linkSync(path, place);
  }
}
