/*
 * What scripts of packages make that must not be the same in two containers. Such files are never shared (docs/installer.md), and
 * a template that is made of a container is made without them.
 */
import { matchesSecret, type SecretRule } from '../templates/secret-rules.js';

/** Whoever is not the owner must not read these; none of them is content that two containers have rightly in common. */
export const SECRET_PATHS: readonly string[] = [
  '/etc/machine-id', '/var/lib/dbus/machine-id', '/var/lib/systemd/random-seed', '/var/lib/systemd/credential.secret',
  '/etc/ssh/ssh_host_*', '/etc/ssl/private/**', '/etc/ssl/certs/ssl-cert-snakeoil.pem', '/etc/pki/tls/private/**', '/etc/bind/rndc.key',
  '/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/security/opasswd',
];

const SNAKEOIL = 'make-ssl-cert generate-default-snakeoil --force-overwrite';

/** What the project itself knows; definitions may say otherwise. */
const KNOWN: readonly SecretRule[] = [
  // Part of a template all the same: without them nobody could log in.
  ...['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/security/opasswd'].map((pattern): SecretRule => ({ pattern, action: 'keep' })),
  // Copies of configuration files as packages bring them, to compare with.
  { pattern: '/var/lib/ucf/**', action: 'keep' },
  // An empty one means: make one at the first start.
  { pattern: '/etc/machine-id', action: 'empty' },
  { pattern: '/etc/ssh/ssh_host_*', action: 'remake', command: 'ssh-keygen -A' },
  { pattern: '/etc/ssl/private/ssl-cert-snakeoil.key', action: 'remake', command: SNAKEOIL },
  { pattern: '/etc/ssl/certs/ssl-cert-snakeoil.pem', action: 'remake', command: SNAKEOIL },
  { pattern: '/etc/bind/rndc.key', action: 'remake', command: 'rndc-confgen -a' },
  // Of no use to others; whoever writes there expects the file, with its owner, to be there.
  { pattern: '/var/log/**', action: 'empty' },
  ...['/var/cache/**', '/var/tmp/**', '/tmp/**', '/run/**'].map((pattern): SecretRule => ({ pattern, action: 'remove' })),
];

/** What becomes of a path: what definitions say, the last one first, then what is known; undefined: nobody has said. */
export function secretRule(path: string, rules: readonly SecretRule[], secretPaths: readonly string[]): SecretRule | undefined {
  const said = rules.findLast(({ pattern }) => matchesSecret(path, pattern)) ?? KNOWN.find(({ pattern }) => matchesSecret(path, pattern));
  return said ?? (isSecretPath(path, secretPaths) ? { pattern: path, action: 'remove' } : undefined);
}

/** Carries rules out: pairs of an action and a path. A name in a folder that is removed is gone when its turn comes. */
export const SETTLE_SECRETS = `set -e
while [ $# -gt 0 ]; do
  if [ -f "$2" ] && [ ! -L "$2" ]; then
    case $1 in
      empty) : > "$2" ;;
      remove|remake) rm -f -- "$2" ;;
    esac
  elif [ "$1" != empty ]; then
    rm -rf -- "$2"
  fi
  shift 2
done
`;

const OTHERS_MAY_READ = 0o004;

/** Whether everybody in a container may read a file of this mode: then its content is no secret. */
export function isForEverybody(mode: number): boolean {
  return (mode & OTHERS_MAY_READ) !== 0;
}

/** Whether a path of a root, as a scan gives it, is one of these patterns. */
export function isSecretPath(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => matchesSecret(path, pattern));
}
