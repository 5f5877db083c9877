import { TemplatefsError, diskError, type ErrorCode } from '../core/errors.js';

/** The status codes of gRPC that containerd's clients know how to read: `errdefs` in its sources. */
export const STATUS = {
  invalidArgument: 3,
  notFound: 5,
  alreadyExists: 6,
  resourceExhausted: 8,
  failedPrecondition: 9,
  internal: 13,
  unavailable: 14,
} as const;

export type StatusCode = (typeof STATUS)[keyof typeof STATUS];

/** An answer that is no success, as containerd wants to hear it. */
export class StatusError extends Error {
  readonly code: StatusCode;

  constructor(code: StatusCode, message: string) {
    super(message);
    this.name = 'StatusError';
    this.code = code;
  }
}

const CODES: Partial<Record<ErrorCode, StatusCode>> = {
  USAGE: STATUS.invalidArgument,
  NO_SPACE: STATUS.resourceExhausted,
  // Worth another try: containerd and its clients repeat what was unavailable.
  BUSY: STATUS.unavailable,
  CONTAINER_MOUNTED: STATUS.unavailable,
  INTERRUPTED: STATUS.unavailable,
  TEMPLATE_IN_USE: STATUS.failedPrecondition,
};

/** The answer for whatever an operation threw. */
export function statusOf(thrown: unknown): { readonly code: StatusCode; readonly details: string } {
  if (thrown instanceof StatusError) return { code: thrown.code, details: thrown.message };
  const error = diskError(thrown);
  if (error instanceof TemplatefsError) {
    return { code: CODES[error.code] ?? STATUS.internal, details: `${error.code}: ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}` };
  }
  return { code: STATUS.internal, details: error instanceof Error ? error.message : String(error) };
}
