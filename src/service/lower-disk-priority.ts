import { execFileSync } from 'node:child_process';

/**
 * Lets others go first at the disk: this process's threads and programs that start from now on inherit it. Not the idle class,
 * nor a lower priority for the processor: who holds a lock must get on. What cannot be had is done without.
 */
export function lowerDiskPriority(): void {
  try {
    // Node.js has no ioprio_set(2). The lowest level of the class that everybody is in.
    execFileSync('ionice', ['-c', '2', '-n', '7', '-p', String(process.pid)], { stdio: 'ignore' });
  } catch {
    // A machine without ionice.
  }
}
