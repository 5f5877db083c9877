import { SANDBOX_CAPABILITIES, SETUP_CAPABILITIES } from './capabilities.js';
import type { ProcCovers } from './proc-covers.js';
import type { ResolvConfPlace } from './resolv-conf.js';

/** File descriptors that the first bubblewrap inherits beyond 0, 1 and 2. The first two and the last are pipes, STATUS_FD is a file. */
export const RESOLV_CONF_FD = 3;
export const SECCOMP_FD = 4;
export const STATUS_FD = 5;
/** A socket whose other end only this process has: see LIFELINE. */
export const LIFELINE_FD = 6;
/** A user namespace, if the container has one. */
export const USERNS_FD = 7;

/**
 * Ends the sandbox when the process that started it is gone, however early that was. "Die with parent" alone has a gap: a
 * process that has just been made has not asked for it yet, and when its parent dies then, it stays. So a watcher
 * waits at the lifeline. A line there says that all is over; its end says that the starter was killed. Then whatever is
 * still being set up gets a second to finish, so that the chain below bubblewrap's monitor has no gap any more.
 */
const LIFELINE = `{ read -r _ || { sleep 1; kill -KILL $$; }; } <&${LIFELINE_FD} >/dev/null 2>&1 & exec "$@" ${LIFELINE_FD}<&-`;

/**
 * Enters the user namespace in which root of the container is not root of the host. It comes before the bounding set: whoever
 * enters a user namespace has all capabilities in it. What the stage has made for the container is given to the
 * container's root first, since host's root is nobody in there.
 */
const GIVE_AWAY = 'owner=$1; shift; chown -hR "$owner" /tmp /run && chown "$owner" /dev /dev/shm || exit; exec "$@"';
const CLOSE_NAMESPACE = `exec "$@" ${USERNS_FD}<&-`;

/** A folder of the host's root that programs need to start: /usr itself, and /bin, /lib … as folder or symlink. */
export interface HostFolder {
  readonly path: string;
  readonly linkTarget?: string;
}

export interface StageOptions {
  readonly bwrap: string;
  readonly setpriv: string;
  readonly root: string;
  readonly hostname: string;
  readonly command: readonly string[];
  readonly network: boolean;
  readonly workdir: string;
  /** Without a terminal the command gets a session of its own. */
  readonly newSession: boolean;
  readonly seccomp: boolean;
  readonly hostFolders: readonly HostFolder[];
  readonly procCovers: ProcCovers;
  readonly resolvConf: ResolvConfPlace;
  /** Environment variables that must not reach bubblewrap itself, such as LD_PRELOAD. */
  readonly lateEnvironment: Readonly<Record<string, string>>;
  readonly tmpfsBytes: number;
  /** A folder of the host that the command sees at INPUT_FOLDER, read-only. */
  readonly input?: string;
  /** When there is a user namespace at USERNS_FD. */
  readonly userNamespace?: {
    readonly nsenter: string;
    /** What root of the container is on the host. */
    readonly rootUid: number;
    readonly rootGid: number;
  };
}

/** Where the stage shows the container's root. */
const CONTAINER = '/container';

/** Where a command finds the folder that its caller hands in. */
export const INPUT_FOLDER = '/run/templatefs';
/** The same in the stage: not below /run, whose owner is changed there. */
const STAGE_INPUT = '/input';

/**
 * The stage: a root of its own that holds what bubblewrap needs to run (the host's /usr, read-only), the container's
 * root at /container, and ready-made /dev, /tmp and /run. Nothing in it is the host's to lose.
 */
function stage(options: StageOptions): string[] {
  const { resolvConf } = options;
  const tmpfs = (path: string, mode: string): string[] => ['--perms', mode, '--size', `${options.tmpfsBytes}`, '--tmpfs', path];
  return [
    '--cap-add', 'ALL',
    ...options.hostFolders.flatMap(({ path, linkTarget }) => linkTarget === undefined ? ['--ro-bind', path, path] : ['--symlink', linkTarget, path]),
    '--ro-bind-try', '/etc/ld.so.cache', '/etc/ld.so.cache',
    '--bind', options.root, CONTAINER,
    ...(options.input === undefined ? [] : ['--ro-bind', options.input, STAGE_INPUT]),
    // A user namespace may mount its own /proc only where one is seen whole; bubblewrap's has covers.
    ...(options.userNamespace === undefined ? ['--proc', '/proc'] : ['--bind', '/proc', '/proc']),
    '--dev', '/dev',
    ...tmpfs('/dev/shm', '1777'),
    ...tmpfs('/tmp', '1777'),
    ...tmpfs('/run', '0755'),
    '--perms', '1777', '--dir', '/run/lock',
    ...(resolvConf.kind === 'none' ? [] : ['--perms', '0644', '--file', `${RESOLV_CONF_FD}`, resolvConf.kind === 'run' ? resolvConf.path : '/resolv.conf']),
  ];
}

/** The sandbox proper, made from inside the stage. */
function sandbox(options: StageOptions): string[] {
  const { procCovers, resolvConf } = options;
  return [
    '--die-with-parent',
    '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try',
    ...(options.network ? [] : ['--unshare-net']),
    ...(options.newSession ? ['--new-session'] : []),
    '--hostname', options.hostname,
    '--bind', CONTAINER, '/',
    '--proc', '/proc',
    ...procCovers.readOnly.flatMap((name) => ['--ro-bind', `/proc/${name}`, `/proc/${name}`]),
    ...procCovers.masked.flatMap((name) => ['--ro-bind', '/dev/null', `/proc/${name}`]),
    '--dev-bind', '/dev', '/dev',
    '--bind', '/tmp', '/tmp',
    '--bind', '/run', '/run',
    ...(options.input === undefined ? [] : ['--ro-bind', STAGE_INPUT, INPUT_FOLDER]),
    ...(resolvConf.kind === 'cover' ? ['--ro-bind', '/resolv.conf', resolvConf.path] : []),
    '--cap-drop', 'ALL',
    ...SANDBOX_CAPABILITIES.flatMap((name) => ['--cap-add', `CAP_${name.toUpperCase()}`]),
    ...(options.seccomp ? ['--seccomp', `${SECCOMP_FD}`] : []),
    '--json-status-fd', `${STATUS_FD}`,
    '--chdir', options.workdir,
    ...Object.entries(options.lateEnvironment).flatMap(([name, value]) => ['--setenv', name, value]),
    '--', ...options.command,
  ];
}

/**
 * The arguments of the first bubblewrap. It makes the stage and starts, in it, the second one, which makes the sandbox:
 * paths below a root that belongs to a hostile container are only touched where a symlink leads nowhere but into the
 * stage. Between the two stands setpriv, because bubblewrap leaves root's bounding set as it is; it runs twice because a
 * capability can be made inheritable only as long as it is in the bounding set. The shell leaves the watcher of LIFELINE behind.
 */
export function stageArguments(options: StageOptions): string[] {
  const bounded = SANDBOX_CAPABILITIES.map((name) => `+${name}`);
  const { userNamespace } = options;
  const inheritable = [...SETUP_CAPABILITIES.map((name) => `+${name}`), ...bounded];
  return [
    ...stage(options),
    '--',
    '/usr/bin/sh', '-c', LIFELINE, 'sh',
    ...(userNamespace === undefined ? [] : [
      '/usr/bin/sh', '-c', GIVE_AWAY, 'sh', `${userNamespace.rootUid}:${userNamespace.rootGid}`,
      userNamespace.nsenter, `--user=/proc/self/fd/${USERNS_FD}`,
      '/usr/bin/sh', '-c', CLOSE_NAMESPACE, 'sh',
    ]),
    options.setpriv, '--inh-caps', inheritable.join(','),
    options.setpriv, '--bounding-set', ['-all', ...bounded].join(','),
    options.bwrap, ...sandbox(options),
  ];
}
