import { TemplatefsError, type ErrorCode } from '../core/errors.js';

/** The one place where errors become exit statuses. docs/cli.md has the same table. */
export const EXIT_STATUS: Readonly<Record<ErrorCode, number>> = {
  FAILED: 1,
  TEMPLATE_EXISTS: 1,
  CONTAINER_EXISTS: 1,
  SNAPSHOT_EXISTS: 1,
  BAD_ARCHIVE: 1,
  BAD_DEFINITION: 1,
  STORE_NOT_WRITABLE: 1,
  NO_SPACE: 1,
  NO_MIRROR: 1,
  IO_ERROR: 1,
  USAGE: 2,
  PARTIAL: 3,
  TEMPLATE_NOT_FOUND: 10,
  CONTAINER_NOT_FOUND: 10,
  SNAPSHOT_NOT_FOUND: 10,
  PACKAGE_NOT_FOUND: 10,
  BUSY: 11,
  CONTAINER_MOUNTED: 11,
  TEMPLATE_IN_USE: 11,
  INTEGRITY: 12,
  BAD_TREE: 12,
  BAD_CATALOG: 12,
  FUSE_UNAVAILABLE: 13,
  ENGINE_FAILED: 13,
  ENGINE_MISMATCH: 13,
  ENGINE_STATE_MISMATCH: 13,
  PACKAGE_MANAGER_FAILED: 14,
  INTERRUPTED: 130,
};

/** The exit status for whatever a command threw. */
export function exitStatusOf(error: unknown): number {
  return error instanceof TemplatefsError ? EXIT_STATUS[error.code] : 1;
}
