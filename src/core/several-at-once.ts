/**
 * Works on items, so many at once, and gives what came of each in their order. After a failure nothing new is begun; it is thrown
 * when all that was begun has ended.
 */
export async function severalAtOnce<Item, Result>(items: readonly Item[], most: number, work: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const waiting = items.entries();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const [index, item] of waiting) {
      if (failed) return;
      try {
        results[index] = await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(items.length, Math.max(1, most)) }, worker));
  for (const each of ended) if (each.status === 'rejected') throw each.reason;
  return results;
}
