/**
 * What a command in the sandbox may do beyond an ordinary user: the set that unmodified package managers and their
 * maintainer scripts need, and no more. Names are those of capabilities(7) in lower case without `cap_`.
 *
 * Left out of the set that Docker gives, with the reason:
 * - `mknod`: Debian policy 10.6 forbids device files in packages, fifos do not need it, and the root is mounted nodev.
 * - `net_raw`: with the network on, the network namespace is the host's, where raw sockets read everybody's traffic.
 * - `setpcap`: nothing here changes bounding sets; `setpriv` and `capsh` in a container work on what there is.
 */
export const SANDBOX_CAPABILITIES = [
  'chown', // dpkg, tar, install: owners of what they unpack
  'dac_override', // package scripts write to folders that belong to other users
  'fowner', // chmod, utimes and setfattr on other users' files
  'fsetid', // keeps the set-id bits when dpkg writes or changes such files
  'kill', // stop a daemon that runs as another user
  'setgid', // apt's _apt user, su, daemons that drop privileges
  'setuid',
  'setfcap', // packages that set file capabilities (iputils-ping)
  'audit_write', // PAM fails without it: su, chpasswd, useradd
  'net_bind_service', // a service of the container on its own port
  'sys_chroot', // daemons and dpkg --root chroot
] as const;

/**
 * What bubblewrap needs while it builds the inner sandbox, on top of the above; all of it is dropped before the command
 * starts.
 */
export const SETUP_CAPABILITIES = ['sys_admin', 'setpcap', 'net_admin'] as const;
