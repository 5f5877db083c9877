import { readFileSync } from 'node:fs';

/**
 * Names one process for good. A pid alone is reused; with the start time (clock ticks since boot) and the boot it is
 * not.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly start: string;
  readonly boot: string;
}

let boot: string | undefined;

/** The kernel's id of the running boot. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

/** @returns the start time of a live process, undefined when there is none or it is only waiting to be reaped */
export function processStart(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field, the program's name in parentheses, may hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

/** The identity of this process. */
export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, start: processStart(process.pid) ?? '', boot: bootId() };
}

/** Whether that very process is still running. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identity.boot === bootId() && processStart(identity.pid) === identity.start;
}
