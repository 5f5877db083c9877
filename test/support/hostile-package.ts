import type { PackageContent } from './package-content.js';

/** What of the host a hostile package knows, and tries to reach. */
export interface HostileTargets {
  /** A file of the host, with a content that is nowhere else. */
  readonly canary: string;
  /** The store. */
  readonly store: string;
  /** Where something listens on the host's 127.0.0.1. */
  readonly port: number;
  /** Numbers of a block device of the host. */
  readonly disk: { readonly major: number; readonly minor: number };
}

/** Numbers of system calls that perl has no words for. */
const CALLS = process.arch === 'arm64' ? { setxattr: 5, getxattr: 8, unshare: 97 } : { setxattr: 188, getxattr: 191, unshare: 272 };

/**
 * Tries to get out of the container in all ways that we know, and writes each one that works into /srv/breach. What is opened here before
 * stays open, so that a breach is also told from outside of the root.
 */
function breaches({ canary, store, port }: HostileTargets): string {
  return `
my ($canary, $store, $port) = ('${canary}', '${store}', ${port});
open(my $breach, '>>', '/srv/breach');
sub breach { syswrite $breach, "@_\\n" }
# Without modules: glob is one.
sub names { my ($folder) = @_; opendir(my $names, $folder) or return (); return grep { !/^\\.\\.?$/ } readdir $names }
sub is_host { my ($root) = @_; return -e "$root$canary" || -e "$root$store/catalog.sqlite" }

# Out of the root, by chroot and a folder that is open.
if (!fork) {
  mkdir '/srv/jail'; opendir(my $top, '/');
  if (chroot '/srv/jail') { chdir $top; chdir '..' for 1 .. 64; chroot '.'; breach 'chroot' if is_host('') }
  exit;
}
wait;
breach 'path' if is_host('') || is_host('../../../../../../../../../..');
# By other processes: their roots, folders, open files, memory and environments.
for my $pid (grep { /^\\d+$/ } names('/proc')) {
  breach "root of $pid" if is_host("/proc/$pid/root");
  breach "folder of $pid" if is_host("/proc/$pid/cwd");
  for my $fd (names("/proc/$pid/fd")) { breach "file $fd of $pid" if is_host("/proc/$pid/fd/$fd") }
  if (open(my $file, '<', "/proc/$pid/environ")) { local $/; my $text = <$file>; breach "environment of $pid" if defined $text && $text =~ /HOST_SECRET/ }
  if (open(my $file, '<', "/proc/$pid/cmdline")) { local $/; my $text = <$file>; breach "command of $pid" if defined $text && $text =~ /templatefs.*--store/ }
}
# What the kernel would do for the host's root.
for my $file ('/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger') { breach $file if open(my $to, '>>', $file) }
for my $file ('/dev/mem', '/dev/kmsg', '/dev/fuse', '/proc/kcore') { breach $file if open(my $from, '<', $file) && sysread($from, my $byte, 1) }
breach 'user namespace' if syscall(${CALLS.unshare}, 0x10000000) == 0;
# Links to objects, and what marks them, are the engine's alone.
my ($own, $name, $value) = ('/srv/own', 'trusted.templatefs.link', 'x' x 40);
open(my $file, '>', $own); close $file;
breach 'link forged' if syscall(${CALLS.setxattr}, $own, $name, $value, length $value, 0) == 0;
my $buffer = "\\0" x 256;
for my $path ($own, '/usr/bin/dpkg', '/etc/os-release') { my $file = $path; breach "link of $file" if syscall(${CALLS.getxattr}, $file, $name, $buffer, 256) >= 0 }
# The network of the host.
socket(my $socket, 2, 1, 0);
breach 'network' if connect($socket, pack('S n a4 x8', 2, $port, "\\x7f\\0\\0\\1"));
socket(my $other, 1, 1, 0);
for my $path ((map { my $folder = $_; map { "$store/run/$folder/$_" } names("$store/run/$folder") } names("$store/run")), '/run/templatefs/control') { breach "socket $path" if connect($other, pack('S Z*', 1, $path)) }
`;
}

/** A package whose scripts do all that. It ends well, and says so in /srv/done. */
export function hostilePackage(targets: HostileTargets): PackageContent {
  const { canary, disk } = targets;
  return {
    name: 'hostile', version: '1.0',
    files: { '/usr/share/hostile': 'hostile '.repeat(1000) },
    scripts: {
      afterInstall: [
        'set +e',
        'breach() { echo "$*" >> /srv/breach; }',
        `cat > /srv/breaches.pl <<'END'${breaches(targets)}END`,
        'perl /srv/breaches.pl || breach "no perl: $?"',
        `{ echo out > '${canary}'; } 2>/dev/null && breach canary`,
        // Devices: the host's disk, and its memory.
        `for device in 'b ${disk.major} ${disk.minor}' 'c 1 1'; do`,
        '  mknod /srv/device $device 2>/dev/null && { head -c 1 /srv/device >/dev/null 2>&1 && breach device $device; rm -f /srv/device; }',
        'done',
        // Everybody may make this one. It must be what it looks like, and hide nothing of the template.
        'rm -f /usr/share/dpkg/abitable; mknod /srv/whiteout c 0 0; mknod /usr/share/dpkg/abitable c 0 0',
        // Mounts, and what the host has handed in.
        'mkdir -p /srv/mount',
        'mount -t tmpfs none /srv/mount 2>/dev/null && breach mount',
        'mount -o remount,bind,rw /run/templatefs 2>/dev/null && breach remount',
        'umount /run/templatefs 2>/dev/null && breach umount',
        'for file in /run/templatefs/*; do { echo x >> "$file"; } 2>/dev/null && breach input "$file"; done',
        '{ echo x > /run/templatefs/new; } 2>/dev/null && breach input',
        'env | grep -q HOST_SECRET && breach environment',
        // Whoever looks at the container from outside must not follow these, nor wait, nor read for hours.
        `for link in /etc/machine-id /etc/hostname /etc/resolv.conf /usr/sbin/policy-rc.d /var/lib/rpm /usr/lib/sysimage/rpm /srv/link; do mkdir -p "$(dirname "$link")"; rm -rf "$link"; ln -s '${canary}' "$link"; done`,
        `ln -s '${canary}' /var/log/apt/hostile.log`,
        'mknod /srv/fifo p',
        'dd of=/srv/sparse bs=1 count=0 seek=4T 2>/dev/null',
        // What a terminal would do.
        "printf '\\033]0;owned\\007 to the host\\n'; printf '\\033[2J\\n' >&2",
        // Goes on, many times over.
        "for i in 1 2 3 4; do setsid perl -e '$SIG{$_} = \"IGNORE\" for qw(TERM INT HUP); for (1 .. 3) { last if !fork } while (1) { open(my $f, \">\", \"/srv/alive\"); print $f \"$$ \", time, rand; close $f; select undef, undef, undef, 0.1 }' </dev/null >/dev/null 2>&1 & done",
        'echo ran >> /srv/done',
        'exit 0',
      ].join('\n'),
    },
  };
}
