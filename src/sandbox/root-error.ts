import { TemplatefsError, errnoOf } from '../core/errors.js';

/** A root that cannot be looked at: it was mounted for the command, or found to be, and somebody has ended its engine since; or it never was. */
export function rootError(root: string, error: unknown): TemplatefsError {
  const errno = errnoOf(error) ?? String(error);
  const isGone = ['ENOTCONN', 'ECONNABORTED'].includes(errno);
  return new TemplatefsError(isGone ? 'ENGINE_FAILED' : 'FAILED', `cannot enter ${root}: ${errno}`, {
    hint: isGone ? 'its engine has ended: run the command again' : 'mount the container first: templatefs mount CT',
    cause: error,
  });
}
