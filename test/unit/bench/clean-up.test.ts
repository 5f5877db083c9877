import { expect, test } from 'vitest';
import { CleanUp } from '../../../bench/runner/clean-up.js';

test('undoes the newest first, all of it, and once', async () => {
  const undone: string[] = [];
  const cleanUp = new CleanUp();
  cleanUp.add('unmount', () => { undone.push('unmount'); });
  cleanUp.add('stop', async () => { throw new Error('it is stuck'); });
  cleanUp.add('remove', async () => { undone.push('remove'); });
  expect(await cleanUp.run()).toEqual(['could not stop: it is stuck']);
  expect(undone).toEqual(['remove', 'unmount']);
  expect(await cleanUp.run()).toEqual([]);
});
