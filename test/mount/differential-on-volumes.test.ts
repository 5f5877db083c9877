import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE, PROJECT, PYTHON } from '../support/project.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * As differential.test.ts, with the store on other file systems than the plain copy: what a container sees must not
 * depend on where its store lies.
 */
const SEEDS = 3;
const OPERATIONS = 300;
const TIMEOUT_MS = 400_000;

const scratch = useScratch();
const SCRIPT = join(PROJECT, 'test/mount/differential.py');

describe('a store on another file system shows the same as a plain file system', () => {
  test.each([
    ['xfs', 101, []],
    ['btrfs', 201, []],
    ['tmpfs', 301, []],
    ['overlay', 401, ['--no-zero-devices']],
  ] as const)('%s', { timeout: TIMEOUT_MS }, async (type, seed, options) => {
    const template = scratch.makeFolder('template');
    const common = ['--engine', ENGINE, '--template', template, '--work', scratch.makeFolder('work')];
    await runOk(PYTHON, [SCRIPT, ...common, '--store', 'none', '--tree', 'none', '--build-template']);
    const store = scratch.makeStore(join(await scratch.makeVolume(type), 'store'));
    const { tree } = (await store.json('template', 'import', 't', template)) as { tree: string };
    const ended = await runProgram(
      PYTHON,
      [SCRIPT, ...common, '--store', store.path, '--tree', tree, '--seed', String(seed), '--seeds', String(SEEDS), '--ops', String(OPERATIONS), ...options],
      { timeoutMs: TIMEOUT_MS },
    );
    expect(ended).toEqual({ status: 0, signal: null, stdout: `${SEEDS * OPERATIONS} operations over ${SEEDS} seeds, no difference\n`, stderr: '' });
    await store.expectSound();
  });
});
