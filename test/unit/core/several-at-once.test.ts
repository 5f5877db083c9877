import { expect, test } from 'vitest';
import { severalAtOnce } from '../../../src/core/several-at-once.js';

/** Work that ends when it is told to. */
function controlled(): { begun: string[]; work: (name: string) => Promise<string>; end: (name: string, error?: Error) => void } {
  const begun: string[] = [];
  const running = new Map<string, (error?: Error) => void>();
  return {
    begun,
    work: (name) =>
      new Promise((resolve, reject) => {
        begun.push(name);
        running.set(name, (error) => { if (error === undefined) resolve(name.toUpperCase()); else reject(error); });
      }),
    end: (name, error) => running.get(name)?.(error),
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('no more at once than asked for, and results in the order of the items', async () => {
  const { begun, work, end } = controlled();
  const all = severalAtOnce(['a', 'b', 'c'], 2, work);
  await turn();
  expect(begun).toEqual(['a', 'b']);
  end('b');
  await turn();
  expect(begun).toEqual(['a', 'b', 'c']);
  end('c');
  end('a');
  expect(await all).toEqual(['A', 'B', 'C']);
  expect(await severalAtOnce([], 0, work)).toEqual([]);
});

test('a failure ends it when what was begun has ended, and nothing new is begun', async () => {
  const { begun, work, end } = controlled();
  let settled = false;
  const all = severalAtOnce(['a', 'b', 'c', 'd'], 2, work);
  const seen = all.catch((error: unknown) => error).finally(() => { settled = true; });
  await turn();
  end('a', new Error('no'));
  await turn();
  expect([settled, begun]).toEqual([false, ['a', 'b']]);
  end('b');
  expect(await seen).toMatchObject({ message: 'no' });
  expect(begun).toEqual(['a', 'b']);
});
