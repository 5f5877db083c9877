/*
 * What scripts of packages make that must not be the same in two containers. Such files are never shared (docs/installer.md), and
 * a template that is made of a container is made without them.
 */

/** Whoever is not the owner must not read these; none of them is content that two containers have rightly in common. */
export const SECRET_PATHS: readonly string[] = [
  '/etc/machine-id', '/var/lib/dbus/machine-id', '/var/lib/systemd/random-seed', '/var/lib/systemd/credential.secret',
  '/etc/ssh/ssh_host_*', '/etc/ssl/private/*', '/etc/ssl/certs/ssl-cert-snakeoil.pem', '/etc/pki/tls/private/*', '/etc/bind/rndc.key',
  '/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/security/opasswd',
];

/** Removed from templates and made anew in each container by these commands. What is not here is made by the container's init. */
const REMADE: readonly { readonly path: string; readonly command: string }[] = [
  { path: '/etc/ssh/ssh_host_', command: 'ssh-keygen -A' },
  { path: '/etc/ssl/private/ssl-cert-snakeoil.key', command: 'make-ssl-cert generate-default-snakeoil --force-overwrite' },
  { path: '/etc/bind/rndc.key', command: 'rndc-confgen -a' },
];

/** Part of a template all the same: without them nobody could log in. */
const KEPT = ['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/security/opasswd'];

/** Prints each path that it removes. An empty machine-id means: make one at the first start. */
export const REMOVE_SECRETS = `for path in "$@"; do
  case "$path" in ${KEPT.join('|')}) continue ;; esac
  for file in $path; do
    [ -e "$file" ] || [ -L "$file" ] || continue
    if [ "$file" = /etc/machine-id ]; then : > "$file"; else rm -rf "$file" && printf '%s\\n' "$file"; fi
  done
done
`;

/** The commands that make again what was removed. */
export function remakeCommands(removed: readonly string[]): string[] {
  return REMADE.filter(({ path }) => removed.some((file) => file.startsWith(path))).map(({ command }) => command);
}

/** Whether a path of a root, as a scan gives it, is one of these patterns (`*` stands for one component's rest). */
export function isSecretPath(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const star = pattern.indexOf('*');
    if (star < 0) return path === pattern;
    return path.startsWith(pattern.slice(0, star));
  });
}
