import { describe, expect, test } from 'vitest';
import { slotsOf } from '../../../bench/measure/slots.js';
import { PEERS, REFERENCE } from '../../../bench/peers/all.js';
import { SCENARIOS } from '../../../bench/scenarios/all.js';
import type { Scenario } from '../../../bench/scenarios/scenario.js';
import { fakePeer } from './bench-fakes.js';

const USABLE = [fakePeer('host'), fakePeer('overlayfs', { abilities: ['xattrs'] }), fakePeer('overlayfs-form', { abilities: ['xattrs'], onlyWhereNamed: true }), fakePeer('templatefs', { abilities: ['xattrs'] })];

function names(scenario: Partial<Scenario>, asked: readonly string[] = []): string[] {
  const whole = { ...scenario, name: 'fake' } as Scenario;
  return slotsOf(whole, { usable: USABLE, asked, reference: 'overlayfs' }).slots.map(({ name }) => name);
}

describe('slotsOf', () => {
  test('has each peer once and the reference twice, forms of a peer only where they are named', () => {
    expect(names({})).toEqual(['host', 'overlayfs', 'overlayfs-again', 'templatefs']);
    expect(names({ also: ['overlayfs-form'] })).toContain('overlayfs-form');
  });

  test('leaves out who cannot do it, and says why', () => {
    expect(names({ needs: ['xattrs'] })).toEqual(['overlayfs', 'overlayfs-again', 'templatefs']);
    const { leftOut } = slotsOf({ name: 'fake', needs: ['xattrs'], without: { templatefs: 'no time' } } as unknown as Scenario, { usable: USABLE, asked: [], reference: 'overlayfs' });
    expect(leftOut).toEqual([{ peer: 'host', reason: 'it has no xattrs' }, { peer: 'templatefs', reason: 'no time' }]);
  });

  test('has the reference of the scenario, also if nobody asked for it', () => {
    expect(names({}, ['templatefs'])).toEqual(['overlayfs', 'overlayfs-again', 'templatefs']);
    expect(names({ reference: 'host', only: ['host', 'templatefs'] }, ['templatefs'])).toEqual(['host', 'host-again', 'templatefs']);
  });

  test('cannot do without the reference', () => {
    expect(() => names({ reference: 'gone' })).toThrow('its reference, gone, cannot be measured here');
  });
});

describe('the scenarios', () => {
  test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))('%s says what it is, and has a reference', (_name, scenario) => {
    for (const text of [scenario.what, scenario.meaning, scenario.durability]) expect(text.length).toBeGreaterThan(10);
    const { slots, reference } = slotsOf(scenario, { usable: PEERS, asked: [], reference: REFERENCE.name });
    expect(slots.filter(({ peer }) => peer === reference)).toHaveLength(2);
    for (const name of [...(scenario.also ?? []), ...(scenario.only ?? []), ...Object.keys(scenario.without ?? {})]) expect(PEERS.map((peer) => peer.name)).toContain(name);
  });

  test('have different names', () => {
    expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
  });
});
