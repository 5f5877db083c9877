/**
 * The order of slots in one round. What runs first, and who runs before whom, differs from round to round: each slot
 * comes first, second, … equally often in as many rounds as there are slots, and every other cycle goes backwards, so
 * that nobody always follows the same neighbour (who leaves caches, clock speed and disk queue to it).
 */
export function orderOfRound<Slot>(slots: readonly Slot[], round: number): Slot[] {
  const count = slots.length;
  if (count === 0) return [];
  const start = round % count;
  const rotated = [...slots.slice(start), ...slots.slice(0, start)];
  return Math.floor(round / count) % 2 === 1 ? rotated.reverse() : rotated;
}
