import { expect } from 'vitest';
import { CLI } from './project.js';
import { runProgram } from './run-program.js';
import type { TestStore } from './test-store.js';

export interface KillOptions {
  readonly store: TestStore;
  readonly container: string;
  readonly env: Readonly<Record<string, string>>;
  /** Arguments of commands that follow one another: each begins where the one before has ended. */
  readonly operations: readonly (readonly string[])[];
  /** How many over all operations, in stopped and in mounted containers. */
  readonly kills: number;
  /** All that an operation changes, and whether the package database and the files are in order. */
  readonly state: () => Promise<string>;
}

/**
 * Kills each of the operations at random points of the time that it takes. After each kill the container must be as before or as after; in the
 * end the operation is done undisturbed, and must end as it did the first time.
 */
export async function killOperations({ store, container, env, operations, kills, state }: KillOptions): Promise<void> {
  const run = async (...args: readonly string[]): Promise<void> => {
    const { status, stdout, stderr } = await store.run(args, { env, timeoutMs: 180_000 });
    expect(status, `${args.join(' ')}\n${stderr}\n${stdout}`).toBe(0);
  };
  let wanted = kills;
  for (const [at, operation] of operations.entries()) {
    const ofThis = Math.ceil(wanted / (operations.length - at));
    wanted -= ofThis;
    const before = await state();
    const from = performance.now();
    await run(...operation);
    const tookMs = performance.now() - from;
    const after = await state();
    expect(after, operation.join(' ')).not.toBe(before);
    await run('rollback', container);
    expect(await state(), `rollback of ${operation.join(' ')}`).toBe(before);
    for (let killed = 0, tries = 0; killed < ofThis; tries++) {
      expect(tries, `${operation.join(' ')} always ends before it is killed`).toBeLessThan(20 + 10 * ofThis);
      if (killed === Math.ceil(ofThis / 2)) await run('mount', container);
      const delayMs = Math.random() * tookMs;
      const ended = await runProgram(CLI, ['--store', store.path, ...operation], { env, onStart: (child) => setTimeout(() => child.kill('SIGKILL'), delayMs) });
      if (ended.signal === 'SIGKILL') killed += 1;
      else expect(ended.status, ended.stderr).toBe(0);
      const found = await state();
      expect([before, after], `killed after ${Math.round(delayMs)} ms of ${operation.join(' ')}`).toContain(found);
      if (found === before) continue;
      await run('rollback', container);
      expect(await state(), `rollback after a kill of ${operation.join(' ')}`).toBe(before);
    }
    await run(...operation);
    expect(await state(), `${operation.join(' ')} after all kills`).toBe(after);
    await store.run(['umount', container]);
  }
}
