import { expect } from 'vitest';
import { CLI } from './project.js';
import { runProgram, type Ended } from './run-program.js';
import type { TestStore } from './test-store.js';

/** How an operation is done that is killed: by the package manager in a stopped or a mounted container, or as a replay of what it did before. */
export type KilledWay = 'stopped' | 'mounted' | 'replayed';

export const KILLED_WAYS: readonly KilledWay[] = ['stopped', 'mounted', 'replayed'];

export interface KillOptions {
  readonly store: TestStore;
  readonly container: string;
  readonly env: Readonly<Record<string, string>>;
  /** Arguments of commands that follow one another: each begins where the one before has ended. */
  readonly operations: readonly (readonly string[])[];
  /** How many over all operations and ways. */
  readonly kills: number;
  readonly ways?: readonly KilledWay[];
  /** All that an operation changes, and whether the package database and the files are in order. */
  readonly state: () => Promise<string>;
}

/** How many of the kills are of the operation and the way with these numbers: as many as of any other, or one more. */
function shareOf(kills: number, operations: number, ways: number, operation: number, way: number): number {
  let count = 0;
  for (let kill = 0; kill < kills; kill++) if (kill % operations === operation && (operation + Math.floor(kill / operations)) % ways === way) count += 1;
  return count;
}

/**
 * Kills each of the operations at points that are spread over the time that it takes, each at random in its part of it. After each kill the
 * container must be as before or as after; in the end the operation is done undisturbed, and must end as it did the first time.
 */
export async function killOperations({ store, container, env, operations, kills, ways = KILLED_WAYS, state }: KillOptions): Promise<void> {
  const run = async (...args: readonly string[]): Promise<Ended> => {
    const ended = await store.run(args, { env, timeoutMs: 180_000 });
    expect(ended.status, `${args.join(' ')}\n${ended.stderr}\n${ended.stdout}`).toBe(0);
    return ended;
  };
  /** Does it as a whole, and takes it back. @returns how long it took */
  const measure = async (words: readonly string[], isReplayed: boolean): Promise<number> => {
    const from = performance.now();
    const { stdout } = await run('--json', ...words);
    const tookMs = performance.now() - from;
    expect((JSON.parse(stdout) as { replayed: boolean }).replayed, words.join(' ')).toBe(isReplayed);
    return tookMs;
  };

  for (const [at, operation] of operations.entries()) {
    const before = await state();
    await run(...operation);
    const after = await state();
    expect(after, operation.join(' ')).not.toBe(before);
    await run('rollback', container);
    expect(await state(), `rollback of ${operation.join(' ')}`).toBe(before);

    for (const [number, way] of ways.entries()) {
      const wanted = shareOf(kills, operations.length, ways.length, at, number);
      if (wanted === 0) continue;
      const words = way === 'replayed' ? operation : [...operation, '--no-replay'];
      const what = `${operation.join(' ')} (${way})`;
      if (way === 'mounted') await run('mount', container);
      const tookMs = await measure(words, way === 'replayed');
      expect(await state(), what).toBe(after);
      await run('rollback', container);
      let done = 0;
      for (let killed = 0, tries = 0; killed < wanted; tries++) {
        expect(tries, `${what} always ends before it is killed`).toBeLessThan(20 + 10 * wanted);
        const delayMs = ((killed + Math.random()) * tookMs) / wanted;
        const ended = await runProgram(CLI, ['--store', store.path, ...words], { env, onStart: (child) => setTimeout(() => child.kill('SIGKILL'), delayMs) });
        if (ended.signal === 'SIGKILL') killed += 1;
        else expect(ended.status, ended.stderr).toBe(0);
        const found = await state();
        expect([before, after], `killed after ${Math.round(delayMs)} of ${Math.round(tookMs)} ms: ${what}\n${ended.stderr}`).toContain(found);
        if (found === before) continue;
        done += 1;
        await run('rollback', container);
        expect(await state(), `rollback after a kill: ${what}`).toBe(before);
      }
      process.stderr.write(`  ${what}: ${wanted} kills within ${Math.round(tookMs)} ms, ${done} times it was done\n`);
      if (way === 'mounted') await run('umount', container);
    }
    await run(...operation);
    expect(await state(), `${operation.join(' ')} after all kills`).toBe(after);
  }
}
