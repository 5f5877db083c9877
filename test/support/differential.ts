import { join } from 'node:path';
import { PROJECT, PYTHON, requireMountTests } from './project.js';
import { runProgram, type Ended } from './run-program.js';
import type { Scratch } from './scratch.js';

/** Runs test/mount/differential in a folder of this test file's own. */
export function useDifferential(scratch: Scratch): (args: readonly string[], timeoutMs: number) => Promise<Ended> {
  return (args, timeoutMs) => {
    requireMountTests();
    const env = { TMPDIR: scratch.makeFolder('differential') };
    return runProgram(PYTHON, [join(PROJECT, 'test/mount/differential'), '--keep', scratch.path('failure.json'), ...args], { timeoutMs, env });
  };
}
