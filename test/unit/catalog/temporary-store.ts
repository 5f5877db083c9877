import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { StorePaths } from '../../../src/core/store-paths.js';

/** A folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'templatefs-test-'));
  onTestFinished(() => { rmSync(folder, { recursive: true, force: true }); });
  return folder;
}

/** An empty store with its folders, removed when the test ends. */
export function temporaryStore(): StorePaths {
  const paths = new StorePaths(temporaryFolder());
  for (const folder of [paths.objects, paths.staging, paths.trees, paths.templates, paths.privateAreas, paths.roots, paths.locks]) {
    mkdirSync(folder, { recursive: true });
  }
  return paths;
}

export const DIGEST = 'ab'.repeat(32);
