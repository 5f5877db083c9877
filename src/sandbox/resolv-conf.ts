import { lstat, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { rootError } from './root-error.js';

const MAX_LINKS = 40; // as the kernel's MAXSYMLINKS

/** Where in the sandbox the host's resolv.conf is put. */
export type ResolvConfPlace =
  /** Over this path of the root; it has no symlink in it. An absent file is made, empty, to have something to cover. */
  | { readonly kind: 'cover'; readonly path: string }
  /** Into the private /run, where the root's symlink leads. */
  | { readonly kind: 'run'; readonly path: string }
  /** Nowhere; `reason` says why. */
  | { readonly kind: 'none'; readonly reason: string };

type Found =
  | { readonly path: string; readonly type: 'file' | 'folder' | 'other' | 'missing' }
  | { readonly error: string };

/**
 * Follows `path` as a process inside `root` would: component by component, with absolute targets and `..` kept inside
 * the root. /run is taken as the empty private one that the sandbox will have.
 *
 * The root may change under this look-up. The answer is therefore only used where a wrong one does no harm: in the
 * stage of the sandbox that has no host file system in it.
 */
async function resolveInRoot(root: string, path: string): Promise<Found> {
  let links = 0;
  const rest = path.split('/').filter((name) => name !== '');
  let at = '/';
  for (;;) {
    const name = rest.shift();
    if (name === undefined) return { path: at, type: 'folder' };
    if (name === '.' || name === '') continue;
    if (name === '..') {
      at = posix.dirname(at);
      continue;
    }
    const next = posix.join(at, name);
    if (next === '/run') return { path: posix.join('/run', posix.join('/', ...rest)), type: 'missing' };
    let status;
    let target;
    try {
      status = await lstat(join(root, next));
      if (status.isSymbolicLink()) target = await readlink(join(root, next));
    } catch (error) {
      const errno = errnoOf(error);
      if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw rootError(root, error);
      return rest.length === 0 && errno === 'ENOENT' ? { path: next, type: 'missing' } : { error: `${next} does not exist` };
    }
    if (target !== undefined) {
      if (++links > MAX_LINKS) return { error: `too many symbolic links at ${next}` };
      if (target.startsWith('/')) at = '/';
      rest.unshift(...target.split('/').filter((part) => part !== ''));
      continue;
    }
    if (rest.length === 0) return { path: next, type: status.isFile() ? 'file' : status.isDirectory() ? 'folder' : 'other' };
    if (!status.isDirectory()) return { error: `${next} is not a folder` };
    at = next;
  }
}

/** Decides where the host's resolv.conf goes, without following a symlink of the root on the host. */
export async function placeResolvConf(root: string): Promise<ResolvConfPlace> {
  const found = await resolveInRoot(root, '/etc/resolv.conf');
  if ('error' in found) return { kind: 'none', reason: `/etc/resolv.conf: ${found.error}` };
  if (found.path.startsWith('/run/') && found.path !== '/run/lock') return { kind: 'run', path: found.path };
  // These are private mounts; what the root has at the same path is out of sight.
  if (/^\/(proc|dev|tmp|sys|run)(\/|$)/.test(found.path)) return { kind: 'none', reason: `/etc/resolv.conf leads to ${found.path}` };
  if (found.type === 'file' || found.type === 'missing') return { kind: 'cover', path: found.path };
  return { kind: 'none', reason: `/etc/resolv.conf leads to ${found.path}, which is no regular file` };
}

/** The host's own resolv.conf; empty if the host has none. */
export async function readHostResolvConf(path = '/etc/resolv.conf'): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
