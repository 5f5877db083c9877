// Makes the root of an OS template of RPMs. The host's dnf or zypper stands in for the container's, which is not there yet; all
// else is as when packages are installed: the host fetches and checks, and the package manager has no network.

import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import { driverFor } from '../packages/drivers.js';
import type { ContainerAnswer, ContainerCommand, ContainerPrograms, PackageHost, PackageRequest, PackageSource } from '../packages/package-manager.js';
import { SERVICES_VARIABLE } from '../packages/package-manager.js';
import { runTool } from '../packages/run-tool.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { makeFolders } from '../store/make-folders.js';
import type { TemplateDefinition } from './definition.js';

export interface RpmBootstrapOptions {
  readonly packageHost?: PackageHost;
  readonly onLog?: (line: string) => void;
  readonly signal?: AbortSignal;
  /** For what the tools write down as the time, in seconds. Times of files stay: rpm verifies them. */
  readonly sourceDateEpoch: string;
}

/** Where the host's rpm puts the database; the root's own rpm may want it elsewhere. */
const HOST_DATABASE = '/var/lib/rpm';

/**
 * $1 the new root, $2 a folder for what is only needed meanwhile, $3 the input or nothing, then the script and its arguments. All mounts
 * are of a mount namespace of its own, and vanish with it. Both /run are on the disk: metadata may be large.
 */
const IN_NAMESPACE = `set -e
root=$1 work=$2 input=$3 script=$4
shift 4
for name in dev proc sys run tmp; do
  [ -d "$root/$name" ] || mkdir "$root/$name"
done
mkdir -p "$work/run" "$work/root-run"
mount --bind "$work/run" /run
mkdir -p /run/templatefs
if [ -n "$input" ]; then mount --bind "$input" /run/templatefs; mount -o remount,bind,ro /run/templatefs; fi
mount --bind "$work/root-run" "$root/run"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
exec /bin/sh -c "$script" sh "$@"
`;

/** Puts the database where the root's own rpm looks for it, in its own form. */
const MOVE_DATABASE = `set -e
cd "$TEMPLATEFS_ROOT"
[ -x usr/bin/rpm ] || exit 0
wanted=$(chroot . /usr/bin/rpm --eval '%{_dbpath}')
case $wanted in /*) ;; *) echo "rpm of the new root has no folder for its database: $wanted" >&2; exit 1 ;; esac
if [ "$wanted" != ${HOST_DATABASE} ] && [ ! -e "./$wanted/rpmdb.sqlite" ]; then
  mkdir -p "./$(dirname "$wanted")"
  [ ! -d "./$wanted" ] || rmdir "./$wanted"
  mv ".${HOST_DATABASE}" "./$wanted"
fi
chroot . /usr/bin/rpm --rebuilddb
`;

const POST_CACHE = `set -e
install -m 0700 "$1" "$TEMPLATEFS_ROOT/.templatefs-post-cache"
status=0
chroot "$TEMPLATEFS_ROOT" /.templatefs-post-cache || status=$?
rm -f "$TEMPLATEFS_ROOT/.templatefs-post-cache"
exit $status
`;

/** What the host or the bootstrap has left, and what containers must not have in common. */
const CLEAN_UP = `set -e
cd "$TEMPLATEFS_ROOT"
mkdir -p etc
rm -f etc/resolv.conf etc/hostname
: > etc/resolv.conf
echo localhost > etc/hostname
[ -e etc/hosts ] || printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n' > etc/hosts
chmod 0644 etc/resolv.conf etc/hostname
[ ! -e etc/machine-id ] || : > etc/machine-id
rm -rf var/cache/dnf var/cache/zypp var/lib/zypp/AnonymousUniqueId
rm -f var/log/dnf*.log var/log/hawkey.log var/log/zypper.log var/log/zypp/history
`;

/** Programs of the host that work on a root that has none of its own yet, without network. */
class BootstrapPrograms implements ContainerPrograms {
  readonly #unshare: string;
  readonly #root: string;
  readonly #work: string;
  readonly #definition: TemplateDefinition;
  readonly #options: RpmBootstrapOptions;

  constructor(unshare: string, root: string, work: string, definition: TemplateDefinition, options: RpmBootstrapOptions) {
    this.#unshare = unshare;
    this.#root = root;
    this.#work = work;
    this.#definition = definition;
    this.#options = options;
  }

  async run(command: ContainerCommand): Promise<ContainerAnswer> {
    const { signal } = this.#options;
    const end = await runTool({
      file: this.#unshare,
      args: [
        '--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--',
        '/bin/sh', '-c', IN_NAMESPACE, 'sh', this.#root, this.#work, command.input ?? '', command.script, ...(command.arguments ?? []),
      ],
      env: {
        ...this.#definition.environment,
        [SERVICES_VARIABLE]: 'none',
        SYSTEMD_OFFLINE: '1',
        TEMPLATEFS_ROOT: this.#root,
        SOURCE_DATE_EPOCH: this.#options.sourceDateEpoch,
        HOME: join(this.#work, 'home'), // its .rpmmacros
        ...command.environment,
      },
      ...(command.onLine !== undefined && { onLine: command.onLine }),
      ...(signal !== undefined && { signal }),
    });
    return { status: end.status, output: end.stdout, errors: end.stderr };
  }

  /** @throws PACKAGE_MANAGER_FAILED */
  async runChecked(what: string, command: ContainerCommand): Promise<void> {
    const { status, errors } = await this.run({ ...command, ...(this.#options.onLog !== undefined && { onLine: this.#options.onLog }) });
    if (status === 0) return;
    throw new TemplatefsError('PACKAGE_MANAGER_FAILED', `bootstrapping ${this.#definition.name} failed: ${what} ended with ${status}: ${errors.trim().split('\n').slice(-3).join('; ')}`, {
      hint: 'run again without --quiet to see the whole output',
    });
  }
}

function requestOf({ packages }: TemplateDefinition): PackageRequest {
  const words = [...new Set([...packages.minimal, ...packages.base, ...packages.main])];
  const isGroup = (word: string): boolean => word.startsWith('@') || word.startsWith('pattern:');
  return { kind: 'install', packages: words.filter((word) => !isGroup(word)), groups: words.filter(isGroup).map((word) => word.replace(/^(@|pattern:)/, '')), files: [] };
}

async function pack(root: string, options: RpmBootstrapOptions, stream: PassThrough): Promise<void> {
  const tar = await findExecutable({ name: 'tar', debianPackage: 'tar', purpose: 'pack the new root' });
  const child = spawn(tar, [
    '--create', '--format=posix', '--pax-option=delete=atime,delete=ctime', '--sort=name', '--numeric-owner', '--one-file-system',
    '--xattrs', '--xattrs-include=user.*', '--xattrs-include=security.capability', '--acls', '-C', root, '.',
  ], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' } });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = new Promise<number>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => { done(code ?? 137); });
  });
  ended.catch(() => undefined); // awaited below
  const kill = (): void => { child.kill('SIGKILL'); };
  const stopListening = onAbort(options.signal, kill);
  try {
    await pipeline(child.stdout, stream, { end: false });
    const status = await ended;
    if (status !== 0) throw new TemplatefsError('FAILED', `cannot pack the new root: ${errors.trim().split('\n')[0] ?? String(status)}`);
  } finally {
    kill();
    stopListening();
  }
}

/**
 * Makes the root of `definition` in `workFolder` and writes it to `stream` as a tar; the caller ends the stream and removes the folder.
 *
 * @throws INTEGRITY, NO_MIRROR, PACKAGE_NOT_FOUND, PACKAGE_MANAGER_FAILED, FAILED (a missing tool), INTERRUPTED
 */
export async function bootstrapRpm(definition: TemplateDefinition, options: RpmBootstrapOptions, stream: PassThrough, workFolder: string): Promise<void> {
  const { packageManager, scripts } = definition;
  const host = options.packageHost;
  if (host === undefined) throw new Error('bootstrapping RPMs needs a cache of packages');
  const purpose = `bootstrap ${definition.name}`;
  const unshare = await findExecutable({ name: 'unshare', debianPackage: 'util-linux', purpose });
  await findExecutable({ name: packageManager, debianPackage: packageManager, purpose });
  const root = join(workFolder, 'root');
  const work = join(workFolder, 'work');
  const home = join(work, 'home');
  await mkdir(root, { mode: 0o755 });
  makeFolders(home);
  await writeFile(join(home, '.rpmmacros'), `%_dbpath ${HOST_DATABASE}\n%_db_backend sqlite\n`);
  const programs = new BootstrapPrograms(unshare, root, work, definition, options);
  const driver = driverFor(packageManager);
  const source: PackageSource = { ...definition, template: definition.name };

  await driver.refresh(host, source, { maxAgeMs: 0 });
  if (scripts['pre-cache'] !== undefined) await programs.runChecked('pre-cache', { script: 'exec "$1" "$TEMPLATEFS_ROOT"', arguments: [scripts['pre-cache']] });
  const request = requestOf(definition);
  const plan = await driver.plan(host, programs, source, request);
  const fetched = [];
  for (const file of plan.downloads) fetched.push(await host.cache.fetch(file, options.signal === undefined ? {} : { signal: options.signal }));
  await driver.apply(host, programs, source, { request, plan, fetched });
  await programs.runChecked('the database of packages', { script: MOVE_DATABASE });
  if (scripts['post-cache'] !== undefined) await programs.runChecked('post-cache', { script: POST_CACHE, arguments: [scripts['post-cache']] });
  await programs.runChecked('cleaning up', { script: CLEAN_UP });
  await pack(root, options, stream);
}
