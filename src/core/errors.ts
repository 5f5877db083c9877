/** Every code that a user or a script can meet. Codes are never renamed; docs/cli.md lists them. */
export type ErrorCode =
  | 'USAGE'
  | 'FAILED'
  | 'PARTIAL'
  | 'TEMPLATE_NOT_FOUND'
  | 'TEMPLATE_EXISTS'
  | 'TEMPLATE_IN_USE'
  | 'CONTAINER_NOT_FOUND'
  | 'CONTAINER_EXISTS'
  | 'CONTAINER_MOUNTED'
  | 'SNAPSHOT_NOT_FOUND'
  | 'SNAPSHOT_EXISTS'
  | 'PACKAGE_NOT_FOUND'
  | 'BUSY'
  | 'INTEGRITY'
  | 'BAD_ARCHIVE'
  | 'BAD_TREE'
  | 'BAD_CATALOG'
  | 'BAD_DEFINITION'
  | 'FUSE_UNAVAILABLE'
  | 'ENGINE_FAILED'
  | 'ENGINE_MISMATCH'
  | 'ENGINE_STATE_MISMATCH'
  | 'PACKAGE_MANAGER_FAILED'
  | 'STORE_NOT_WRITABLE'
  | 'NO_SPACE'
  | 'NO_MIRROR'
  | 'IO_ERROR'
  | 'INTERRUPTED';

export interface ErrorDetails {
  /** What to do next: a command to run or a thing to check. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * An error that a user can cause or mend. The message says what is wrong and names the thing it is wrong with; the
 * hint says what to do next. Programmer errors stay plain `Error`s.
 */
export class TemplatefsError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'TemplatefsError';
    this.code = code;
    this.hint = details.hint;
  }
}

/** Reads the errno name (`ENOENT`, …) of a Node.js system error; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    // Node.js has no name for it.
    return error.code === 'Unknown system error -122' ? 'EDQUOT' : error.code;
  }
  return undefined;
}

/**
 * Turns a full, read-only or broken disk, met by whatever call, into an error that says what to do; for those that nobody has
 * turned into a better one. Anything else is returned as it is.
 */
export function diskError(error: unknown): unknown {
  if (!['ENOSPC', 'EDQUOT', 'EROFS', 'EIO'].includes(errnoOf(error) ?? '')) return error;
  const path = error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : 'the store';
  return storeWriteError(error, path);
}

/**
 * Turns a system error met while writing to the store into one that says what to do. Errors that already are
 * TemplatefsErrors, and errors that are no system errors, are returned as they are.
 */
export function storeWriteError(error: unknown, what: string): unknown {
  if (error instanceof TemplatefsError) return error;
  const errno = errnoOf(error);
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new TemplatefsError('NO_SPACE', `no space left while writing ${what}`, {
        hint: 'free some space on the file system of the store (templatefs gc, df -h, df -i), then run the command again',
        cause: error,
      });
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return new TemplatefsError('STORE_NOT_WRITABLE', `cannot write ${what}: ${errno}`, {
        hint: 'run as root on a store that is mounted read-write, or name another with --store DIR',
        cause: error,
      });
    case 'EIO':
      return new TemplatefsError('IO_ERROR', `I/O error at ${what}`, {
        hint: 'look at dmesg: the disk below the store reports errors',
        cause: error,
      });
    default:
      return error;
  }
}
