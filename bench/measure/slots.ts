import type { Peer } from '../peers/peer.js';
import type { Slot } from '../report/result.js';
import { CannotMeasure, type Scenario } from '../scenarios/scenario.js';

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

/** The peers that can run here, and which of them are wanted. */
export interface Peers {
  readonly usable: readonly Peer[];
  /** Names; empty: all. */
  readonly asked: readonly string[];
  /** What others are compared with, if a scenario does not say otherwise. */
  readonly reference: string;
}

/**
 * Which slots a scenario is measured in: each wanted peer that can do it once, and its reference twice, wanted or not.
 *
 * @throws CannotMeasure when the reference cannot run here
 */
export function slotsOf(scenario: Scenario, { usable, asked, reference: usual }: Peers): ChosenSlots {
  const reference = scenario.reference ?? usual;
  const slots: PeerSlot[] = [];
  const leftOut: { peer: string; reason: string }[] = [];
  for (const peer of usable) {
    if (asked.length > 0 && !asked.includes(peer.name) && peer.name !== reference) continue;
    if (scenario.only?.includes(peer.name) === false) continue;
    if (peer.onlyWhereNamed === true && scenario.also?.includes(peer.name) !== true) continue;
    const reason = reasonAgainst(peer, scenario);
    if (reason !== undefined) {
      leftOut.push({ peer: peer.name, reason });
      continue;
    }
    slots.push({ name: peer.name, peer: peer.name, of: peer });
    if (peer.name === reference) slots.push({ name: `${peer.name}-again`, peer: peer.name, of: peer });
  }
  if (!slots.some(({ peer }) => peer === reference)) throw new CannotMeasure(`its reference, ${reference}, cannot be measured here`);
  return { reference, again: `${reference}-again`, slots, leftOut };
}
