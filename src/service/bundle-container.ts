import { chmodSync, existsSync, mkdirSync, realpathSync, rmSync, rmdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { readContainerFile } from '../catalog/container-file.js';
import { TemplatefsError, diskError, errnoOf } from '../core/errors.js';
import { idMapArguments, type IdMaps } from '../core/id-map.js';
import { enginePath } from '../core/engine-path.js';
import { findEngine } from '../engine/engine-binary.js';
import { DEFAULT_PATH, runtimeConfig, type RuntimeUser } from '../oci/runtime-config.js';
import { resolveUser } from '../oci/resolve-user.js';
import { findExecutable } from '../sandbox/find-executable.js';
import { readTreeFile } from '../store/read-tree-file.js';
import { writeFileDurably } from '../store/write-file-durably.js';
import { openForReading, type ServiceContext } from './context.js';
import { findContainer } from './find-record.js';
import { imageOf, startWords } from './start-words.js';
import { hostnameOf } from './use-container.js';

export interface BundleOptions {
  readonly name: string;
  /** Made if it is not there; its parent must be. */
  readonly folder: string;
  /** In place of what the image says; a shell if nobody says anything. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workdir?: string;
  /** `user`, `uid`, `user:group` …; what the image says, else root, if left out. */
  readonly user?: string;
  readonly terminal: boolean;
  /** In place of the container's setting; null: ids are as they are. */
  readonly ids?: IdMaps | null;
  /** Writes over an earlier bundle. */
  readonly force?: boolean;
}

export interface Bundle {
  readonly name: string;
  readonly bundle: string;
  /** Where the root is to be mounted before the runtime starts. */
  readonly rootfs: string;
  /** Programs that mount and unmount it; they do nothing when that is done already. */
  readonly mount: string;
  readonly umount: string;
  readonly args: readonly string[];
}

/** Users and groups are text files of a few lines; with more than this somebody plays games. */
const MAX_PASSWD_BYTES = 1 << 20;
const SHELL = ['/bin/sh'] as const;

function quote(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The program `mount` of a bundle: no Node.js, idempotent, and it clears away what a dead engine left. */
function mountScript(words: readonly string[]): string {
  return (
    '#!/bin/sh\n' +
    '# Mounts the root of this bundle; run it before the runtime. Mounted already is fine, a dead mount is cleared away.\n' +
    `exec ${words.map(quote).join(' ')}\n`
  );
}

/** The program `umount`, the poststop hook: a runtime and one that cleans up behind it may both call it. */
function umountScript(umount: string, rootfs: string): string {
  // As /proc/mounts writes it: mangle_path() in the kernel.
  const field = rootfs.replaceAll(/[ \t\n\\#]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return (
    '#!/bin/sh\n' +
    '# Unmounts the root of this bundle, which ends its engine; config.json has it as poststop hook. Not mounted is fine.\n' +
    `grep -qF ${quote(` ${field} fuse.templatefs `)} /proc/self/mounts || exit 0\n` +
    `exec ${quote(umount)} ${quote(rootfs)}\n`
  );
}

/** Files and folders that are removed again unless all of them were made. */
class Made implements Disposable {
  #paths: string[] = [];

  add(path: string): void {
    this.#paths.push(path);
  }

  keep(): void {
    this.#paths = [];
  }

  [Symbol.dispose](): void {
    for (const path of this.#paths.reverse()) {
      try {
        if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) rmdirSync(path);
        else rmSync(path, { force: true });
      } catch {
        // Somebody has put something there.
      }
    }
  }
}

/** The folder of the bundle, made if need be. @throws USAGE, FAILED */
function prepareFolder(context: ServiceContext, folder: string, force: boolean, made: Made): string {
  const wanted = resolve(folder);
  try {
    const path = join(realpathSync(dirname(wanted)), basename(wanted));
    if (existsSync(context.paths.store) && `${path}/`.startsWith(`${realpathSync(context.paths.store)}/`)) {
      throw new TemplatefsError('USAGE', `${path} lies in the store`, { hint: 'choose a folder elsewhere: what is in the store is its own' });
    }
    if (existsSync(join(path, 'config.json')) && !force) {
      throw new TemplatefsError('FAILED', `there is a bundle at ${path} already`, { hint: 'choose another folder, or write over it with --force' });
    }
    // The container's root may be an ordinary user of the host, who has to get through to it.
    for (const wantedFolder of [path, join(path, 'rootfs')]) {
      if (!existsSync(wantedFolder)) {
        mkdirSync(wantedFolder, { mode: 0o755 });
        made.add(wantedFolder);
      } else if (!statSync(wantedFolder).isDirectory()) throw new TemplatefsError('FAILED', `${wantedFolder} is no folder`, { hint: 'choose another folder' });
    }
    return path;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR' && errno !== 'EACCES') throw diskError(error);
    throw new TemplatefsError('FAILED', `cannot make the folder ${wanted}: ${errno}`, { hint: 'its parent folder must be there', cause: error });
  }
}

/**
 * Writes an OCI bundle for a container: `config.json`, an empty folder `rootfs`, and programs `mount` and `umount`, which mount
 * the container's root there without Node.js. Mounts nothing itself.
 *
 * @throws CONTAINER_NOT_FOUND, USAGE, FAILED, ENGINE_FAILED, BAD_TREE, INTEGRITY
 */
export async function bundleContainer(context: ServiceContext, options: BundleOptions): Promise<Bundle> {
  const { paths } = context;
  const { name } = options;
  using opened = openForReading(context);
  const { template, tree } = findContainer(opened.catalog, name);
  const image = imageOf(paths, template);
  const ids = options.ids === undefined ? (readContainerFile(paths.containerFile(name))?.ids ?? null) : options.ids;
  const args = startWords(image, options.command) ?? SHELL;
  const user = findUser(context, tree, options.user ?? image?.user ?? '0:0');
  await findEngine();
  const unmounter = await findExecutable({ name: 'umount', debianPackage: 'mount', purpose: 'unmount the root of a bundle' });

  // Nothing half made stays, and nothing of an earlier bundle goes.
  using made = new Made();
  const bundle = prepareFolder(context, options.folder, options.force === true, made);
  const rootfs = join(bundle, 'rootfs');
  const env = mergeEnvironment([DEFAULT_PATH, ...(options.terminal ? ['TERM=xterm'] : []), ...(image?.env ?? [])], options.env);
  const config = runtimeConfig({
    hostname: hostnameOf(name),
    args,
    env,
    cwd: options.workdir ?? image?.workdir ?? '/',
    user,
    terminal: options.terminal,
    ids,
    annotations: { ...image?.labels, 'org.templatefs.container': name, 'org.templatefs.store': resolve(paths.store) },
    poststop: [join(bundle, 'umount')],
  });
  const mount = join(bundle, 'mount');
  const umount = join(bundle, 'umount');
  const map = options.ids === undefined ? [] : options.ids === null ? ['--no-idmap'] : idMapArguments(options.ids);
  const programs = [
    [mount, mountScript([enginePath(), 'mount', '--store', resolve(paths.store), '--container', name, '--mountpoint', rootfs, ...map])],
    [umount, umountScript(unmounter, rootfs)],
  ] as const;
  const write = (path: string, text: string, mode: number): void => {
    if (!existsSync(path)) made.add(path);
    writeFileDurably(path, text, mode);
  };
  for (const [path, text] of programs) {
    write(path, text, 0o755);
    chmodSync(path, 0o755);
  }
  // Last: without it this is no bundle.
  write(join(bundle, 'config.json'), `${JSON.stringify(config, null, 2)}\n`, 0o644);
  made.keep();
  return { name, bundle, rootfs, mount, umount, args };
}

/** Looks a user up in the template: the container's own changes are not to be read from outside without its root mounted. */
function findUser({ paths }: ServiceContext, tree: string, user: string): RuntimeUser {
  const numbers = /^\d+:\d+$/.test(user);
  const read = (file: string): string => (numbers ? '' : (readTreeFile(paths, tree, file, MAX_PASSWD_BYTES) ?? ''));
  return resolveUser(user, read('etc/passwd'), read('etc/group'));
}

/** Later ones of a name win, at the place of the first. */
function mergeEnvironment(pairs: readonly string[], more: Readonly<Record<string, string>>): string[] {
  const merged = new Map<string, string>();
  for (const pair of [...pairs, ...Object.entries(more).map(([name, value]) => `${name}=${value}`)]) merged.set(pair.slice(0, pair.indexOf('=')), pair);
  return [...merged.values()];
}
