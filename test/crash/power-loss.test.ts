import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PROJECT, PYTHON, requireMountTests } from '../support/project.js';
import { runProgram, type Ended } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * The power of a store's file system is cut: see test/power-loss/__main__.py. This is a short run of it; a long one:
 *
 *   npm run test:power-loss -- --cuts 2000 --file-system xfs
 */
const TIMEOUT_MS = 600_000;

const scratch = useScratch();

function powerLoss(...args: string[]): Promise<Ended> {
  requireMountTests();
  return runProgram(PYTHON, [join(PROJECT, 'test/power-loss'), '--folder', scratch.makeFolder('power-loss'), ...args], { timeoutMs: TIMEOUT_MS });
}

describe('a power loss', { timeout: TIMEOUT_MS }, () => {
  test('what was found once is not lost again', async () => {
    const ended = await powerLoss('--stories', '--file-system', 'ext4');
    expect(ended.stdout).toMatch(/^power-loss: 20 cuts on ext4, 0 losses, \d+m\d\ds\n$/);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('cuts at random lose nothing', async () => {
    const ended = await powerLoss('--cuts', '8', '--file-system', 'xfs', '--seed', '7');
    expect(ended.stdout).toMatch(/^power-loss: 8 cuts on xfs, 0 losses, \d+m\d\ds\n$/);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('a change of packages is as before or as after', async () => {
    const ended = await powerLoss('--command', 'rollback', '--cuts', '1', '--file-system', 'ext4', '--seed', '1', '--jobs', '1');
    expect(ended.stdout).toMatch(/^power-loss: 1 cuts on ext4, 0 losses, \d+m\d\ds\n$/);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
  });

  test('an fsync that does nothing is found', async () => {
    const ended = await powerLoss('--stories', '--file-system', 'ext4', '--jobs', '1', '--break', 'fdatasync');
    expect(ended.status).toBe(1);
    expect(ended.stdout).toMatch(/^seed 0 on ext4: fdatasync of a template file .*which nothing since operation 1 wrote/m);
    expect(ended.stdout).toMatch(/^power-loss: 1 cuts on ext4, 1 losses, /m);
  });
});
