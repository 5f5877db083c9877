import { describe, expect, test } from 'vitest';
import { useDifferential } from '../support/differential.js';
import { useScratch } from '../support/scratch.js';

/*
 * Random operations by several processes on a root and on a plain ext4 copy of its template, everything compared: see
 * differential/__main__.py. This is a short run of it; a long one:
 *
 *   npm run test:differential -- --operations 1000000
 */
const OPERATIONS = 32_000;
const SEEDS = 16; // four of each kind of mount: differential/__main__.py has VARIANTS
const TIMEOUT_MS = 1_200_000;

const differential = useDifferential(useScratch());

describe('random operations give the same as on a plain file system', () => {
  test('a short run', { timeout: TIMEOUT_MS }, async () => {
    const ended = await differential(['--operations', String(OPERATIONS)], TIMEOUT_MS);
    expect(ended.stdout).toMatch(new RegExp(`^differential: ${OPERATIONS} operations, ${SEEDS} seeds, 0 differences, \\d+m\\d\\ds\\n$`));
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('a difference is found, shrunk and can be run again', { timeout: TIMEOUT_MS }, async () => {
    const ended = await differential(['--operations', '400', '--length', '400', '--break', 'chmod'], TIMEOUT_MS);
    expect(ended.status).toBe(1);
    expect(ended.stdout).toMatch(/^seed 1, operation \d+: .*'op': 'chmod'/m);
    expect(ended.stdout).toMatch(/^shrunk to 1 operations: /m);
    expect(ended.stdout).toMatch(/^replay: npm run test:differential -- --replay (\S+)$/m);
    const [, file = ''] = /--replay (\S+)$/m.exec(ended.stdout) ?? [];
    const again = await differential(['--replay', file, '--break', 'chmod', '--no-shrink'], TIMEOUT_MS);
    expect(again.stdout).toMatch(/^differential: \d+ operations, 1 seeds, 1 differences, /m);
    const sound = await differential(['--replay', file], TIMEOUT_MS);
    expect(sound.stdout).toMatch(/^differential: 1 operations, 1 seeds, 0 differences, /m);
    expect(sound.status).toBe(0);
  });
});
