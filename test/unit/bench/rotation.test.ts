import { expect, test } from 'vitest';
import { orderOfRound } from '../../../bench/measure/rotation.js';

const SLOTS = ['a', 'b', 'c', 'd'];

test('each round has every slot once', () => {
  for (let round = 0; round < 9; round++) expect([...orderOfRound(SLOTS, round)].sort()).toEqual(SLOTS);
});

test('in as many rounds as there are slots, each slot has each place once', () => {
  for (const firstRound of [0, 4]) {
    const orders = SLOTS.map((_, round) => orderOfRound(SLOTS, firstRound + round));
    for (const place of SLOTS.keys()) expect(orders.map((order) => order[place]).sort()).toEqual(SLOTS);
  }
});

test('neighbours change: every other cycle goes backwards', () => {
  expect(orderOfRound(SLOTS, 1)).toEqual(['b', 'c', 'd', 'a']);
  expect(orderOfRound(SLOTS, 5)).toEqual(['a', 'd', 'c', 'b']);
});

test('few slots are no problem', () => {
  expect(orderOfRound([], 3)).toEqual([]);
  expect(orderOfRound(['a'], 3)).toEqual(['a']);
});
