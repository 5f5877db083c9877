import type { IdMaps, IdRange } from '../core/id-map.js';

/** Who the first process is. */
export interface RuntimeUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface RuntimeConfigOptions {
  readonly hostname: string;
  readonly args: readonly string[];
  /** `NAME=VALUE`. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: RuntimeUser;
  readonly terminal: boolean;
  /** null: the container's root is the host's. */
  readonly ids: IdMaps | null;
  readonly annotations: Readonly<Record<string, string>>;
  /** Program and arguments that the runtime runs on the host when the container is gone. */
  readonly poststop: readonly [string, ...string[]];
}

export const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What podman and Docker give a container: runtime-spec itself names no default. */
const CAPABILITIES = [
  'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'NET_BIND_SERVICE', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT',
].map((name) => `CAP_${name}`);

/** Parts of /proc and /sys that tell of the host, or change it. The lists of runc and podman. */
const MASKED_PATHS = [
  '/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list', '/proc/timer_stats',
  '/proc/sched_debug', '/proc/scsi', '/sys/firmware', '/sys/devices/virtual/powercap',
];
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** Group `tty`, to which terminals belong. */
const TTY_GID = 5;

function has(ranges: readonly IdRange[], id: number): boolean {
  return ranges.some(({ container, size }) => id >= container && id < container + size);
}

function mappings(ranges: readonly IdRange[]): object[] {
  return ranges.map(({ container, host, size }) => ({ containerID: container, hostID: host, size }));
}

function mounts(ids: IdMaps | null): object[] {
  const pts = ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'];
  // A group that the user namespace lacks cannot be named in it.
  if (ids === null || has(ids.gids, TTY_GID)) pts.push(`gid=${TTY_GID}`);
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: pts },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  ];
}

/**
 * The config.json of a bundle, as runtime-spec 1.0.2 has it, for a container with namespaces of its own, a network of only a
 * loopback device, and the capabilities that podman gives. Its root is the folder `rootfs` beside it, where somebody mounts
 * before the runtime's `create`: hooks run too late to give a container its root.
 */
export function runtimeConfig(options: RuntimeConfigOptions): object {
  const { ids, user } = options;
  const [hook, ...hookArguments] = options.poststop;
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: options.terminal,
      user: { uid: user.uid, gid: user.gid, ...(user.additionalGids.length > 0 && { additionalGids: user.additionalGids }) },
      args: options.args,
      env: options.env,
      cwd: options.cwd,
      capabilities: {
        bounding: CAPABILITIES,
        // Others than root get them by set-id programs and file capabilities only.
        effective: user.uid === 0 ? CAPABILITIES : [],
        permitted: user.uid === 0 ? CAPABILITIES : [],
      },
      noNewPrivileges: false,
    },
    root: { path: 'rootfs', readonly: false },
    hostname: options.hostname,
    mounts: mounts(ids),
    hooks: { poststop: [{ path: hook, args: [hook, ...hookArguments], timeout: 30 }] },
    annotations: options.annotations,
    linux: {
      ...(ids !== null && { uidMappings: mappings(ids.uids), gidMappings: mappings(ids.gids) }),
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount', ...(ids === null ? [] : ['user'])].map((type) => ({ type })),
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
    },
  };
}
