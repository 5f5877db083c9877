import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { PYTHON, supportFile } from './project.js';

export interface LoadResult {
  readonly operations: number;
  /** Threads that did almost nothing. */
  readonly idle: readonly number[];
  readonly errors: readonly string[];
  readonly wrong: readonly string[];
}

/** Starts load.py and returns when it is under way. */
export async function startLoad(root: string): Promise<{ stop: () => Promise<LoadResult>; kill: () => void }> {
  const child = spawn(PYTHON, [supportFile('load.py'), root], { stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text: Buffer) => (stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  const ended = new Promise((resolve) => child.once('close', resolve));
  await expect.poll(() => stdout + stderr, { timeout: 20_000 }).toBe('ready\n');
  return {
    kill: () => child.kill('SIGKILL'),
    async stop() {
      child.stdin.end();
      await Promise.race([ended, sleep(90_000, undefined, { ref: false })]);
      const line = stdout.trim().split('\n').at(-1) ?? '';
      if (!line.startsWith('{')) throw new Error(`the load gave no result: ${stderr}`);
      return JSON.parse(line) as LoadResult;
    },
  };
}
