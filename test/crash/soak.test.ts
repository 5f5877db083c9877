import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT, PYTHON, requireMountTests } from '../support/project.js';
import { runProgram, type Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Workers that are killed at random under clients that check all that they do: see test/mount/soak/__main__.py. This is a
 * short run of it; a long one:
 *
 *   npm run test:soak -- --kills 500
 */
const KILLS = 20;
const TIMEOUT_MS = 600_000;

const scratch = useScratch();

function soak(...args: string[]): Promise<Ended> {
  requireMountTests();
  const env = { TMPDIR: scratch.makeFolder('soak') };
  return runProgram(PYTHON, [join(PROJECT, 'test/mount/soak'), '--interval', '0.06', ...args], { timeoutMs: TIMEOUT_MS, env });
}

describe('clients of a root whose worker is killed', () => {
  test('notice nothing but a pause', { timeout: TIMEOUT_MS }, async () => {
    // Two roots, of which one has no passthrough; a seed of its own each day.
    const seed = Math.floor(Date.now() / 86_400_000);
    const ended = await soak('--kills', String(KILLS), '--seed', String(seed), '--variant', '', '--variant', '--whole-copy-limit 0 --no-passthrough');
    expect(ended.stdout).toMatch(/^soak: \d+ kills, 0 errors, \d+ operations, pause median \d+\.\d ms, maximum \d+\.\d ms\n$/);
    expect(Number(/^soak: (\d+)/.exec(ended.stdout)?.[1])).toBeGreaterThanOrEqual(KILLS);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('notice a wrong byte', { timeout: TIMEOUT_MS }, async () => {
    const ended = await soak('--kills', '4', '--roots', '1', '--break');
    expect(ended.stdout).toMatch(/^wrong: Bytes .*first difference at 0/m);
    expect(ended.stdout).toMatch(/^again: npm run test:soak -- --kills 4 --seed 1$/m);
    expect(ended.stdout).toMatch(/^soak: \d+ kills, 1 errors, /m);
    expect(ended.status).toBe(1);
  });
});
