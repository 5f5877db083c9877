import { TemplatefsError, errnoOf } from '../core/errors.js';

/**
 * A root that cannot be looked at: it was mounted for the command, or found to be, and since then somebody has ended its engine, and perhaps another
 * command has cleared it away (ENOENT).
 */
export function rootError(root: string, error: unknown): TemplatefsError {
  const errno = errnoOf(error) ?? String(error);
  const isGone = ['ENOTCONN', 'ECONNABORTED', 'ENOENT'].includes(errno);
  return new TemplatefsError(isGone ? 'ENGINE_FAILED' : 'FAILED', `cannot enter ${root}: ${errno}`, {
    hint: isGone ? 'its engine has ended: run the command again' : 'look at dmesg and at run/CT/log in the store, then run the command again',
    cause: error,
  });
}
