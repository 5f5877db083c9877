import { readFileSync } from 'node:fs';

export const ENGINE_FILE_SYSTEM = 'fuse.templatefs';

/** One line of /proc/self/mountinfo (proc(5)). */
export interface MountEntry {
  /** `major:minor` of the file system. */
  readonly device: string;
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
}

/** mountinfo writes space, tab, newline and backslash as three octal digits. */
function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  const latin1 = Buffer.from(text, 'utf8')
    .toString('latin1')
    .replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return Buffer.from(latin1, 'latin1').toString('utf8');
}

/** Reads the text of a mountinfo file; lines of a form that is not known are left out. */
export function parseMountInfo(text: string): MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [device, mountpoint, type, source] = [fields[2], fields[4], fields[dash + 1], fields[dash + 2]];
    if (dash < 0 || device === undefined || mountpoint === undefined || type === undefined) return [];
    return [{ device, mountpoint: unescapeOctal(mountpoint), type, source: unescapeOctal(source ?? '') }];
  });
}

/** The mounts of this process's mount namespace, in mount order: of several at one place the last is on top. */
export function readMounts(): MountEntry[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** Those of the mount namespace of another process; none when that has ended. */
export function readMountsOf(pid: number): MountEntry[] {
  try {
    return parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  } catch {
    return [];
  }
}

/**
 * Whether what is mounted on top at `mountpoint` is a root of an engine.
 *
 * @param connection that of one engine, where it is known: another's root does not count
 */
export function isEngineMount(mounts: readonly MountEntry[], mountpoint: string, connection: number | null = null): boolean {
  const top = mounts.findLast((mount) => mount.mountpoint === mountpoint);
  return top?.type === ENGINE_FILE_SYSTEM && (connection === null || top.device === `0:${connection}`);
}
