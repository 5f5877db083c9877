import { describe, expect, test } from 'vitest';
import { useDifferential } from '../support/differential.js';
import { useScratch } from '../support/scratch.js';

/*
 * As differential.test.ts, with the store on other file systems than the plain copy: what a container sees must not
 * depend on where its store lies.
 */
const OPERATIONS = 2_000;
const TIMEOUT_MS = 400_000;

const scratch = useScratch();
const differential = useDifferential(scratch);

describe('a store on another file system shows the same as a plain file system', () => {
  test.each([
    ['xfs', 100_001, []],
    ['btrfs', 200_001, []],
    ['tmpfs', 300_001, []],
    ['overlay', 400_001, ['--no-zero-devices']],
  ] as const)('%s', { timeout: TIMEOUT_MS }, async (type, seed, options) => {
    const ended = await differential(['--store-folder', await scratch.makeVolume(type), '--seed', String(seed), '--operations', String(OPERATIONS), '--length', '500', ...options], TIMEOUT_MS);
    expect(ended.stdout).toMatch(/^differential: 2000 operations, 4 seeds, 0 differences, \d+m\d\ds\n$/);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });
});
