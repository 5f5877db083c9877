import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT, PYTHON, requireMountTests } from '../support/project.js';
import { runProgram, type Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Merging between random operations, against a model, with workers that are killed: see test/mount/merging/__main__.py. This is a
 * short run of it; a long one:
 *
 *   npm run test:merging -- --steps 100000
 */
const TIMEOUT_MS = 600_000;

const scratch = useScratch();

function merging(...args: string[]): Promise<Ended> {
  requireMountTests();
  return runProgram(PYTHON, [join(PROJECT, 'test/mount/merging'), ...args], { timeoutMs: TIMEOUT_MS, env: { TMPDIR: scratch.makeFolder('merging') } });
}

describe('a container that works while it is merged', () => {
  test('sees what it wrote, whatever is merged and killed', { timeout: TIMEOUT_MS }, async () => {
    const seed = Math.floor(Date.now() / 86_400_000);
    const ended = await merging('--steps', '800', '--remount-every', '400', '--kill-every', '0.3', '--seed', String(seed));
    const counts = /^merging: 800 steps, \d+ kills, (\d+) merged, \d+ kept, \d+ skipped, 0 errors\n$/.exec(ended.stdout);
    expect(counts, ended.stdout).not.toBeNull();
    expect(Number(counts?.[1])).toBeGreaterThan(20);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('would see a wrong byte', { timeout: TIMEOUT_MS }, async () => {
    const ended = await merging('--steps', '60', '--kill-every', '0', '--break');
    expect(ended.stdout).toMatch(/^wrong: step \d+: \/usr\/m\/large holds /m);
    expect(ended.status).toBe(1);
  });
});
