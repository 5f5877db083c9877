import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import type { StorePaths } from '../../../src/core/store-paths.js';
import { createUnfinished } from '../../../src/service/create-container.js';
import { withTemporaryContainer } from '../../../src/service/temporary-container.js';
import { storeWithTemplate } from './store-with-template.js';

// Changing a store takes root, in tests too.
const asRoot = describe.skipIf(process.geteuid?.() !== 0);

function leftOf(paths: StorePaths): { containers: string[]; areas: string[]; journal: unknown[] } {
  using catalog = Catalog.open(paths, 'read');
  return { containers: catalog.containers().map(({ name }) => name), areas: readdirSync(paths.privateAreas), journal: [...catalog.journal()] };
}

asRoot('containers that take more steps than their making', () => {
  test('one whose making fails when it has its name is not there', async () => {
    const { paths, context } = await storeWithTemplate();
    const failing = createUnfinished(context, { name: 'c1', template: 't', onPlaced: () => Promise.reject(new Error('the disk is gone')) });
    await expect(failing).rejects.toThrow('the disk is gone');
    expect(leftOf(paths)).toEqual({ containers: [], areas: [], journal: [] });
  });

  test('what was done with a temporary one stays done when that one cannot be removed', async () => {
    const { paths, context, notices } = await storeWithTemplate();
    const done = await withTemporaryContainer(context, 't', (name) => {
      const area = paths.privateArea(name);
      execFileSync('chattr', ['+i', area]);
      onTestFinished(() => { execFileSync('chattr', ['-i', area]); });
      return Promise.resolve('done');
    });
    expect(done).toBe('done');
    expect(notices).toEqual([expect.stringMatching(/^temporary-\S+, a container of this command, could not be removed, the next command does it: /)]);
    // Whoever finds the entry when this process is gone removes it.
    expect(leftOf(paths).journal).toMatchObject([{ operation: 'make-container' }]);
  });

  test('what failed with a temporary one is told, not that it cannot be removed', async () => {
    const { paths, context } = await storeWithTemplate();
    const failing = withTemporaryContainer(context, 't', (name) => {
      const area = paths.privateArea(name);
      execFileSync('chattr', ['+i', area]);
      onTestFinished(() => { execFileSync('chattr', ['-i', area]); });
      return Promise.reject(new Error('no such package'));
    });
    await expect(failing).rejects.toThrow('no such package');
  });
});
