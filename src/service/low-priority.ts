import { execFileSync } from 'node:child_process';
import { setPriority } from 'node:os';

const NICE = 10;

/**
 * Lets everything else go first, for the disk and the processor: this process's threads and programs that start from now on
 * inherit it. What cannot be had is done without.
 */
export function lowerPriority(): void {
  try {
    setPriority(NICE);
    // Node.js has no ioprio_set(2). Class 3: the disk only when nobody else wants it.
    execFileSync('ionice', ['-c', '3', '-p', String(process.pid)], { stdio: 'ignore' });
  } catch {
    // A machine without ionice.
  }
}
