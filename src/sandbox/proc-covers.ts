import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Entries of /proc that tell about the host or about other users' keys; they read as empty or as denied. */
const MASKED = new Set(['kcore', 'kmsg', 'keys', 'key-users', 'timer_list', 'timer_stats', 'sched_debug', 'latency_stats', 'kpagecount', 'kpageflags', 'kpagecgroup']);

export interface ProcCovers {
  /** Names below /proc that are mounted read-only over themselves. */
  readonly readOnly: readonly string[];
  /** Names of files below /proc that are covered with /dev/null. */
  readonly masked: readonly string[];
}

/**
 * Lists what of /proc must be covered in the sandbox. Its root user is the host's root user with fewer capabilities, and
 * /proc/sys asks for the user only: without the cover a container could set /proc/sys/kernel/core_pattern and run
 * programs on the host. (bubblewrap covers /proc/sys only if access(2) says that the *folder* is writable, which it
 * never says, not even to root.)
 *
 * All folders that belong to no process are covered, and all files that their owner may write.
 */
export async function listProcCovers(proc = '/proc'): Promise<ProcCovers> {
  const readOnly: string[] = [];
  const masked: string[] = [];
  for (const name of (await readdir(proc)).sort()) {
    if (/^[0-9]+$/.test(name)) continue;
    let status;
    try {
      status = await lstat(join(proc, name));
    } catch {
      continue; // self, thread-self and the like may vanish with their process
    }
    if (status.isSymbolicLink()) continue; // self, mounts, net: parts of a process's own folder
    if (status.isFile() && MASKED.has(name)) masked.push(name);
    else if (status.isDirectory() || (status.mode & 0o222) !== 0) readOnly.push(name);
  }
  return { readOnly, masked };
}
