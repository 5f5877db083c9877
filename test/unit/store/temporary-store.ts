import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { StorePaths } from '../../../src/core/store-paths.js';
import { dumpTree } from '../../../src/store/tree-dump.js';
import { TreeReader } from '../../../src/store/tree-reader.js';

/** A folder of the running test, removed when it ends, however it ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'templatefs-store-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

export function temporaryStore(): StorePaths {
  return new StorePaths(join(temporaryFolder(), 'store'));
}

/** Runs a script with the shell; `$1`, `$2`, … are the arguments. */
export function shell(script: string, ...args: string[]): string {
  return execFileSync('bash', ['-euo', 'pipefail', '-c', script, 'bash', ...args], { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] });
}

export function dump(paths: StorePaths, digest: string): string[] {
  const tree = TreeReader.open(paths.tree(digest));
  try {
    return [...dumpTree(tree)];
  } finally {
    tree.close();
  }
}

/** The dump's line for one path, split into its fields. */
export function dumpLine(lines: readonly string[], path: string): string[] {
  return lines.map((line) => line.split(' ')).find(([first]) => first === path) ?? [];
}

/** Names in a folder; none when it is not there. */
export function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
