import type { Peer } from '../peers/peer.js';
import type { Slot } from '../report/result.js';
import type { Scenario } from '../scenarios/scenario.js';

/** A slot and the peer that stands in it. */
export interface PeerSlot extends Slot {
  readonly of: Peer;
}

export interface ChosenSlots {
  readonly reference: string;
  readonly again: string;
  readonly slots: readonly PeerSlot[];
  readonly leftOut: readonly { readonly peer: string; readonly reason: string }[];
}

function reasonAgainst(peer: Peer, scenario: Scenario): string | undefined {
  const reason = scenario.without?.[peer.name];
  if (reason !== undefined) return reason;
  const missing = (scenario.needs ?? []).filter((ability) => !peer.abilities.includes(ability));
  return missing.length === 0 ? undefined : `it has no ${missing.join(', ')}`;
}

/**
 * Which slots a scenario is measured in: each peer that can do it once, and the reference a second time.
 *
 * @param peers those that can run here and are wanted, the reference always @param reference the usual one's name
 */
export function slotsOf(scenario: Scenario, peers: readonly Peer[], reference: string): ChosenSlots {
  const against = scenario.reference ?? reference;
  const slots: PeerSlot[] = [];
  const leftOut: { peer: string; reason: string }[] = [];
  for (const peer of peers) {
    if (scenario.only?.includes(peer.name) === false) continue;
    if (peer.onlyWhereNamed === true && scenario.also?.includes(peer.name) !== true) continue;
    const reason = reasonAgainst(peer, scenario);
    if (reason !== undefined) {
      leftOut.push({ peer: peer.name, reason });
      continue;
    }
    slots.push({ name: peer.name, peer: peer.name, of: peer });
    if (peer.name === against) slots.push({ name: `${peer.name}-again`, peer: peer.name, of: peer });
  }
  return { reference: against, again: `${against}-again`, slots, leftOut };
}
