import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROJECT, PYTHON, requireMountTests } from '../support/project.js';
import { runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * System calls of commands fail, one in turn: see test/faults/__main__.py. All of them: npm run test:faults
 */
const TIMEOUT_MS = 600_000;

const scratch = useScratch();

test('a command whose system call fails says so and changes nothing', { timeout: TIMEOUT_MS }, async () => {
  requireMountTests();
  const args = ['--part', 'calls', '--folder', scratch.makeFolder('faults'), '--command', 'create', '--command', 'snapshot-remove', '--error', 'EIO', '--call', 'rename', '--call', 'fsync', '--most', '3'];
  const ended = await runProgram(PYTHON, [join(PROJECT, 'test/faults'), ...args], { timeoutMs: TIMEOUT_MS });
  expect(ended.stdout).toMatch(/^faults: (?:[6-9]|1[0-2]) cases, 0 failed(?:, \d+ alike left out)?, \d+m\d\ds\n$/);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
});

test('a root on a full file system: ENOSPC, nothing half done, and deleting works', { timeout: TIMEOUT_MS }, async () => {
  requireMountTests();
  const args = ['--part', 'roots', '--file-system', 'ext4', '--way', 'bytes', '--folder', scratch.makeFolder('roots')];
  const ended = await runProgram(PYTHON, [join(PROJECT, 'test/faults'), ...args], { timeoutMs: TIMEOUT_MS });
  expect(ended.stdout).toMatch(/^faults: [0-9]{2} cases, 0 failed, \d+m\d\ds\n$/);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
});
