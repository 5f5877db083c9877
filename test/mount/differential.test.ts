import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE, PROJECT, PYTHON } from '../support/project.js';
import { runOk, runProgram } from '../support/run-program.js';
import { useScratch } from '../support/scratch.js';

/*
 * Random operations on a root and on a plain copy of its template, compared throughout: see differential.py. A longer run:
 *
 *   TEMPLATEFS_DIFF_SEEDS=1000 TEMPLATEFS_DIFF_OPS=1000 npm test -- differential
 *
 * TEMPLATEFS_DIFF_SEED is the first seed.
 */
const setting = (name: string, otherwise: number): number => Number(process.env[name] ?? otherwise);
const SEEDS = setting('TEMPLATEFS_DIFF_SEEDS', 12);
const OPERATIONS = setting('TEMPLATEFS_DIFF_OPS', 300);
const FIRST_SEED = setting('TEMPLATEFS_DIFF_SEED', 1);
const TIMEOUT_MS = 240_000 + SEEDS * OPERATIONS * 100;

const scratch = useScratch();
const SCRIPT = join(PROJECT, 'test/mount/differential.py');

describe('random operations give the same as on a plain file system', () => {
  test.each([
    ['with passthrough', []],
    ['without passthrough', ['--no-passthrough']],
  ])('%s', { timeout: TIMEOUT_MS }, async (_name, options) => {
    const template = scratch.makeFolder('template');
    const work = scratch.makeFolder('work');
    const common = ['--engine', ENGINE, '--template', template, '--work', work];
    await runOk(PYTHON, [SCRIPT, ...common, '--store', 'none', '--tree', 'none', '--build-template']);
    const store = scratch.makeStore();
    const { tree } = (await store.json('template', 'import', 't', template)) as { tree: string };
    const ended = await runProgram(
      PYTHON,
      [SCRIPT, ...common, '--store', store.path, '--tree', tree, '--seed', String(FIRST_SEED), '--seeds', String(SEEDS), '--ops', String(OPERATIONS), ...options],
      { timeoutMs: TIMEOUT_MS },
    );
    expect(ended).toEqual({ status: 0, signal: null, stdout: `${SEEDS * OPERATIONS} operations over ${SEEDS} seeds, no difference\n`, stderr: '' });
    await store.expectSound();
  });
});
