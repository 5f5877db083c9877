import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ENGINE, PROJECT, PYTHON } from '../support/project.js';
import { runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Random operations by several processes on a root and on a plain ext4 copy of its template, compared throughout: see
 * differential/__main__.py. The seeds are fixed, so that a failure is the change's. A longer run: npm run test:differential
 */
const OPERATIONS = 20_000;
const SEQUENCE = 1_000;
const TIMEOUT_MS = 600_000;

const scratch = useScratch();

test('random operations give the same as on ext4', { timeout: TIMEOUT_MS }, async () => {
  const failure = scratch.path('failure.json');
  const ended = await runProgram(
    PYTHON,
    [join(PROJECT, 'test/mount/differential'), '--engine', ENGINE, '--operations', String(OPERATIONS), '--length', String(SEQUENCE), '--keep', failure],
    { timeoutMs: TIMEOUT_MS },
  );
  expect(ended.stdout + ended.stderr).toMatch(new RegExp(`^differential: ${OPERATIONS} operations, ${OPERATIONS / SEQUENCE} seeds, 0 differences, `));
  expect(ended.status).toBe(0);
});
