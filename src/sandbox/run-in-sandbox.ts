// Runs one command in a container's root, shut off from the host. The container's programs are hostile code: this is
// the only way in which any of them is ever started. docs/sandbox.md says what the walls are and what they are not.

import { randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants as fsConstants } from 'node:fs';
import { lstat, open, readdir, readFile, readlink, statfs, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { Socket } from 'node:net';
import { constants, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, TemplatefsError } from '../core/errors.js';
import { onAbort } from '../core/on-abort.js';
import { idMapArguments, type IdMaps, type IdRange } from '../core/id-map.js';
import { sandboxEnvironment } from './environment.js';
import { findExecutable } from './find-executable.js';
import { listProcCovers } from './proc-covers.js';
import { placeResolvConf, readHostResolvConf } from './resolv-conf.js';
import type { ResolvConfPlace } from './resolv-conf.js';
import { rootError } from './root-error.js';
import { seccompFilter } from './seccomp-filter.js';
import { LIFELINE_FD, RESOLV_CONF_FD, SECCOMP_FD, stageArguments, USERNS_FD } from './stage-arguments.js';
import type { HostFolder } from './stage-arguments.js';

/** Streams in place of the terminal; what is left out is /dev/null. They are not closed by the sandbox, save `stdin` when it ends. */
export interface SandboxPipes {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
}

export interface SandboxOptions {
  /** The container's root on the host: a folder or a mount. */
  readonly root: string;
  readonly hostname: string;
  /** Program and arguments; the program is looked up in the PATH of the sandbox. */
  readonly command: readonly string[];
  /** true: the host's network; false: only a loopback device. */
  readonly network: boolean;
  /** Added to the clean environment of `sandboxEnvironment`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default: `/`. */
  readonly workdir?: string;
  /** `inherit` also passes SIGINT, SIGTERM, SIGHUP and SIGQUIT of this process on to the command. */
  readonly stdio: 'inherit' | SandboxPipes;
  /** The map by which the root is mounted; undefined: user 0 of the sandbox is the host's user 0. */
  readonly userNamespace?: {
    /** Path of the engine's executable, which makes the namespace. */
    readonly engine: string;
    readonly ids: IdMaps;
  };
  /** A folder of the host that the command sees at INPUT_FOLDER, read-only. */
  readonly input?: string;
  /** What the command leaves running: `wait` for its end (default), or `kill` it when the command has ended. */
  readonly leftRunning?: 'wait' | 'kill';
  /** Kills everything in the sandbox. */
  readonly signal?: AbortSignal;
}

/** The host's id of the container's id 0. @throws USAGE */
function hostRoot(ranges: readonly IdRange[]): number {
  const range = ranges.find(({ container }) => container === 0);
  if (range === undefined) {
    throw new TemplatefsError('USAGE', 'the map of ids has no range for root (id 0), so no command can be run as root', {
      hint: 'mount the container with a map that has one: --idmap 0:100000:65536',
    });
  }
  return range.host;
}

/** Not in Node.js's constants; the same on all Linux architectures that it runs on. */
const O_CLOEXEC = 0o2000000;
const O_TMPFILE = 0o20000000 | fsConstants.O_DIRECTORY;

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** The private mounts. Were one of them a symlink, bubblewrap would mount where it leads. */
const MOUNT_POINTS = ['proc', 'dev', 'tmp', 'run'];

/** How long the processes of a sandbox may take to be gone after SIGKILL. */
const END_TIMEOUT_MS = 10_000;

/** @returns its device number, which another mount in its place does not have */
async function checkRoot(root: string): Promise<number> {
  let device = 0;
  for (const name of ['', ...MOUNT_POINTS]) {
    let status;
    try {
      status = await lstat(join(root, name));
    } catch (error) {
      if (name !== '' && errnoOf(error) === 'ENOENT') continue; // bubblewrap makes it
      throw rootError(root, error);
    }
    if (!status.isDirectory()) {
      throw new TemplatefsError('FAILED', `cannot enter ${root}: its /${name} is not a folder`, {
        hint: `the sandbox mounts private file systems on ${MOUNT_POINTS.map((point) => `/${point}`).join(', ')}; make them folders`,
      });
    }
    if (name === '') device = status.dev;
  }
  return device;
}

/** What a sandbox could not be set up on may be a root whose engine has ended meanwhile, and which others may have mounted anew. @throws ENGINE_FAILED */
async function refuseLostRoot(root: string, device: number): Promise<void> {
  try {
    // Is always asked of the engine.
    await statfs(root);
    if ((await lstat(root)).dev === device) return;
  } catch (error) {
    throw rootError(root, error);
  }
  throw new TemplatefsError('ENGINE_FAILED', `the root ${root} was unmounted while the sandbox was set up`, { hint: 'its engine has ended: run the command again' });
}

/** /usr and the folders or symlinks beside it without which no program of the host starts. */
async function listHostFolders(): Promise<HostFolder[]> {
  const folders: HostFolder[] = [];
  for (const path of ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32']) {
    try {
      const status = await lstat(path);
      if (status.isSymbolicLink()) folders.push({ path, linkTarget: await readlink(path) });
      else if (status.isDirectory()) folders.push({ path });
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  return folders;
}

/** The programs that build the sandbox start in this environment too, so what steers their dynamic linker comes late. */
function splitEnvironment(environment: Readonly<Record<string, string>>): { early: Record<string, string>; late: Record<string, string> } {
  const early: Record<string, string> = {};
  const late: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value.includes('\0')) {
      throw new TemplatefsError('USAGE', `not a valid environment variable: ${JSON.stringify(name)}`);
    }
    (/^(LD_|GLIBC_|MALLOC_|GCONV_PATH$|LOCPATH$)/.test(name) ? late : early)[name] = value;
  }
  return { early, late };
}

/**
 * Lists the file descriptors that this process was started with and would hand on. An open folder of the host among
 * them would be a way out of the sandbox (CVE-2024-21626); Node.js opens its own close-on-exec.
 */
async function listInheritedFds(): Promise<number[]> {
  const fds: number[] = [];
  for (const name of await readdir('/proc/self/fdinfo')) {
    const fd = Number(name);
    if (fd < 3) continue;
    try {
      const flags = /^flags:\s*([0-7]+)/m.exec(await readFile(`/proc/self/fdinfo/${name}`, 'latin1'));
      if (flags?.[1] !== undefined && (parseInt(flags[1], 8) & O_CLOEXEC) === 0) fds.push(fd);
    } catch {
      // Closed since it was listed.
    }
  }
  return fds;
}

/** An unnamed file: what is written to it can be read as long as it is open. A named one at first only where the file system has no O_TMPFILE. */
async function openScratchFile(): Promise<FileHandle> {
  try {
    return await open(tmpdir(), O_TMPFILE | fsConstants.O_RDWR | fsConstants.O_EXCL, 0o600);
  } catch (error) {
    if (!['ENOTSUP', 'EISDIR'].includes(errnoOf(error) ?? '')) throw error;
  }
  const path = join(tmpdir(), `templatefs-sandbox-${process.pid}-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  await unlink(path);
  return file;
}

/**
 * Reads what the second bubblewrap reports: the host's pid of the sandbox's first process. It reports into a file and not
 * into a pipe: a pipe to a process that was killed would end bubblewrap with SIGPIPE in the middle of its set-up, and
 * leave behind what it had just made.
 *
 * @returns undefined when there is no report by the time that `over` says nobody can write one any more
 */
async function readFirstPid(status: FileHandle, over: () => boolean): Promise<number | undefined> {
  const bytes = Buffer.alloc(4096);
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 20)) {
    const last = over();
    const { bytesRead } = await status.read(bytes, 0, bytes.length, 0);
    const match = /"child-pid"\s*:\s*([0-9]+)\D/.exec(bytes.toString('latin1', 0, bytesRead));
    if (match?.[1] !== undefined) return Number(match[1]);
    if (last) return undefined;
    await delay(pauseMs);
  }
}

/** Whether a process, not counting a dead one that nobody waited for, is there. */
async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    const state = stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3);
    return state !== 'Z' && state !== 'X';
  } catch {
    return false;
  }
}

/** The first process of a pid namespace ends only after all others in it, and with it every use of the root. */
async function waitUntilGone(pid: number): Promise<void> {
  const deadline = Date.now() + END_TIMEOUT_MS;
  for (let pauseMs = 1; Date.now() < deadline; pauseMs = Math.min(2 * pauseMs, 50)) {
    if (!(await isAlive(pid))) return;
    await delay(pauseMs);
  }
}

function killQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** Sends a signal to the command: the first child of the sandbox's first process, which only reaps. */
async function signalCommand(firstPid: number, signal: NodeJS.Signals): Promise<void> {
  try {
    const children = await readFile(`/proc/${firstPid}/task/${firstPid}/children`, 'latin1');
    const command = Number(children.split(' ')[0]);
    if (command > 0) killQuietly(command, signal);
  } catch {
    // The sandbox has ended.
  }
}

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Copies between the sandbox and the caller's streams; a reader or writer that goes away early is no failure. */
async function copyStreams(child: ChildProcess, pipes: SandboxPipes): Promise<void> {
  const quietly = async (work: Promise<void>): Promise<void> => {
    try {
      await work;
    } catch {
      // EPIPE and the like: the other side has ended, its exit status tells.
    }
  };
  if (pipes.stdin !== undefined && child.stdin !== null) void quietly(pipeline(pipes.stdin, child.stdin));
  const outputs: Promise<void>[] = [];
  if (pipes.stdout !== undefined && child.stdout !== null) outputs.push(quietly(pipeline(child.stdout, pipes.stdout, { end: false })));
  if (pipes.stderr !== undefined && child.stderr !== null) outputs.push(quietly(pipeline(child.stderr, pipes.stderr, { end: false })));
  await Promise.all(outputs);
}

/** The pipe at a file descriptor beyond the standard ones; Node.js makes these of sockets. */
function pipeAt(child: ChildProcess, fd: number): Socket {
  const pipes: readonly unknown[] = child.stdio;
  const pipe = pipes[fd];
  if (!(pipe instanceof Socket)) throw new Error(`no pipe at file descriptor ${fd}`);
  pipe.on('error', () => undefined); // bubblewrap ended before it read or wrote this; its exit status tells
  return pipe;
}

/**
 * Runs `command` in `root` and waits until it, and everything that it left running, has ended.
 *
 * The command has its own mount, pid, ipc, uts, cgroup and, unless `network`, network namespace, the capabilities of
 * `SANDBOX_CAPABILITIES`, no_new_privs, a system-call filter, a minimal /dev, and private /proc, /run and /tmp. It dies
 * with this process. Must be called from the main thread: the kernel ties "dies with" to the thread.
 *
 * @returns the exit status, 128 + n if signal n ended the command
 * @throws FAILED when bubblewrap is missing or cannot build the sandbox, INTERRUPTED when `signal` was aborted
 */
export async function runInSandbox(options: SandboxOptions): Promise<number> {
  if (options.command.length === 0) throw new TemplatefsError('USAGE', 'no command given', { hint: 'templatefs exec CT -- COMMAND...' });
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(options.hostname)) {
    throw new TemplatefsError('USAGE', `not a valid host name: ${JSON.stringify(options.hostname)}`);
  }
  const interrupted = (): TemplatefsError => new TemplatefsError('INTERRUPTED', `interrupted: ${options.command.join(' ')}`);
  const wasAborted = (): boolean => options.signal?.aborted === true;
  if (wasAborted()) throw interrupted();

  const root = resolve(options.root);
  const purpose = 'run a command in a container';
  const { userNamespace } = options;
  const owner = userNamespace && { rootUid: hostRoot(userNamespace.ids.uids), rootGid: hostRoot(userNamespace.ids.gids) };
  const [bwrap, setpriv, nsenter, hostFolders, procCovers, device] = await Promise.all([
    findExecutable({ name: 'bwrap', debianPackage: 'bubblewrap', purpose }),
    findExecutable({ name: 'setpriv', debianPackage: 'util-linux', purpose }),
    findExecutable({ name: 'nsenter', debianPackage: 'util-linux', purpose }),
    listHostFolders(),
    listProcCovers(),
    checkRoot(root),
  ]);
  const resolvConf: ResolvConfPlace = options.network ? await placeResolvConf(root) : { kind: 'none', reason: 'no network' };
  const resolvConfBytes = resolvConf.kind === 'none' ? undefined : await readHostResolvConf();
  const filter = seccompFilter();
  const pipes = options.stdio === 'inherit' ? undefined : options.stdio;
  const interactive = pipes === undefined && process.stdin.isTTY;
  const { early, late } = splitEnvironment(sandboxEnvironment({ network: options.network, ...(options.env === undefined ? {} : { extra: options.env }) }));

  const pipeIf = (wanted: boolean): 'pipe' | 'ignore' => (wanted ? 'pipe' : 'ignore');
  const standard = pipes === undefined
    ? (['inherit', 'inherit', 'inherit'] as const)
    : ([pipeIf(pipes.stdin !== undefined), pipeIf(pipes.stdout !== undefined), pipeIf(pipes.stderr !== undefined)] as const);
  // Descriptor by descriptor: what this process inherited becomes /dev/null.
  const nowhere = await open('/dev/null', 'r+');
  const status = await openScratchFile();
  const stdio: ('pipe' | 'ignore' | 'inherit' | number)[] = [...standard, pipeIf(resolvConfBytes !== undefined), pipeIf(filter !== undefined), status.fd, 'pipe'];
  for (const fd of await listInheritedFds()) {
    while (stdio.length <= fd) stdio.push('ignore'); // 'ignore' beyond 2 means: leave alone
    if (stdio[fd] === 'ignore') stdio[fd] = nowhere.fd;
  }
  const stage = stageArguments({
    bwrap, setpriv, root, hostFolders, procCovers, resolvConf,
    hostname: options.hostname,
    command: options.command,
    network: options.network,
    workdir: options.workdir ?? '/',
    newSession: !interactive,
    seccomp: filter !== undefined,
    lateEnvironment: late,
    tmpfsBytes: Math.floor(totalmem() / 4),
    ...(owner !== undefined && { userNamespace: { nsenter, ...owner } }),
    ...(options.input !== undefined && { input: resolve(options.input) }),
  });
  const child = spawn(
    userNamespace === undefined ? bwrap : userNamespace.engine,
    userNamespace === undefined ? stage : ['userns', '--fd', String(USERNS_FD), ...idMapArguments(userNamespace.ids), '--', bwrap, ...stage],
    {
      cwd: '/',
      env: early,
      // A process group of its own: Ctrl-C reaches this process, which passes it on to the command alone. With a
      // terminal the command has to stay in the foreground group, so there the terminal signals it directly.
      detached: !interactive,
      stdio,
    },
  );

  const ended = new Promise<Ending>((done, fail) => {
    child.once('error', (error) => {
      fail(new TemplatefsError('FAILED', `cannot start ${bwrap}: ${errnoOf(error) ?? error.message}`, { cause: error }));
    });
    child.once('exit', (code, signal) => {
      done({ code, signal });
    });
  });
  ended.catch(() => undefined); // awaited below
  if (child.pid === undefined) {
    await nowhere.close();
    await status.close();
    await ended;
    throw new Error('spawned without a pid');
  }
  const outerPid = child.pid;
  // All that listens to the child begins here, before anything is waited for: one that ends at once closes its pipes, and says so only once.
  if (resolvConfBytes !== undefined) pipeAt(child, RESOLV_CONF_FD).end(resolvConfBytes);
  if (filter !== undefined) pipeAt(child, SECCOMP_FD).end(filter);
  const lifeline = pipeAt(child, LIFELINE_FD).resume();
  const released = new Promise<void>((done) => {
    lifeline.once('close', () => { done(); });
  });
  let over = false;
  void ended.catch(() => undefined).then(() => { over = true; });
  const copied = pipes === undefined ? Promise.resolve() : copyStreams(child, pipes);
  const firstPid = readFirstPid(status, () => over);
  await nowhere.close();

  const passOn = (name: NodeJS.Signals): void => {
    // The terminal has sent these to the whole foreground group, the command included.
    if (interactive && (name === 'SIGINT' || name === 'SIGQUIT')) return;
    void firstPid.then((pid) => pid === undefined ? undefined : signalCommand(pid, name));
  };
  const kill = (): void => {
    killQuietly(outerPid, 'SIGKILL');
    lifeline.destroy();
    void firstPid.then((pid) => {
      if (pid !== undefined) killQuietly(pid, 'SIGKILL');
    });
  };
  if (pipes === undefined) for (const name of PASSED_ON) process.on(name, passOn);
  const stopListening = onAbort(options.signal, kill);
  try {
    const ending = await ended;
    const pid = await firstPid;
    // bubblewrap ends with the command; the first process of the namespace stays with what the command has left.
    if (pid !== undefined && options.leftRunning === 'kill' && (await isAlive(pid))) killQuietly(pid, 'SIGKILL');
    if (pid !== undefined) await waitUntilGone(pid);
    // The watcher holds the stage, and so the root. It has gone when nobody has the other end any more.
    lifeline.end('\n');
    await released;
    await copied;
    if (wasAborted()) throw interrupted();
    if (ending.signal !== null) return 128 + constants.signals[ending.signal];
    if (pid === undefined) {
      await refuseLostRoot(root, device);
      throw new TemplatefsError('FAILED', `the sandbox on ${root} could not be set up (bwrap ended with ${String(ending.code)})`, {
        hint: 'bubblewrap says why, above; it needs root, and namespaces enabled in the kernel',
      });
    }
    return ending.code ?? 1;
  } finally {
    over = true;
    await firstPid.catch(() => undefined);
    await status.close();
    stopListening();
    if (pipes === undefined) for (const name of PASSED_ON) process.off(name, passOn);
  }
}
