import type { PeerMode } from '../peers/peer.js';
import type { Machine } from '../runner/machine.js';

/*
 * The results of one run, as the JSON file has them. Fields are only added, never changed or removed; FORMAT counts up
 * when a meaning changes all the same. Everything that a table or a plot shows can be made of it again.
 */
export const FORMAT = 2;

/** One place in the rotation: a peer, or the reference for the second time. */
export interface Slot {
  /** Unique; the peer's name, or that with `-again`. */
  readonly name: string;
  readonly peer: string;
}

export interface SlotSamples {
  readonly slot: string;
  /** One for each round, in the order of rounds; null where a slot that is very slow was left out. */
  readonly values: readonly (number | null)[];
  /** FUSE requests answered during the last round, by opcode, where the peer can tell. */
  readonly requests?: Readonly<Record<string, number>>;
}

/** One scenario in one variant. */
export interface Measurement {
  readonly scenario: string;
  /** `cold`, `50 containers`; empty if the scenario has only one. */
  readonly variant: string;
  readonly unit: 'ns' | 'bytes';
  /** The name in `work` that the values are divided by in tables. */
  readonly per: string | null;
  /** What each run did: files, bytes. The same for all slots, or there would be no result. */
  readonly work: Readonly<Record<string, number>>;
  /** Names of the slots that are compared with, and of the same peer's second one. */
  readonly reference: string;
  readonly again: string;
  readonly samples: readonly SlotSamples[];
}

export interface DescribedPeer extends PeerMode {
  readonly name: string;
  readonly what: string;
}

export interface DescribedScenario {
  readonly name: string;
  readonly group: string;
  readonly what: string;
  readonly meaning: string;
  readonly durability: string;
  /** What was left out of it, and why. */
  readonly leftOut: readonly { readonly peer: string; readonly reason: string }[];
}

export interface BenchResult {
  readonly format: typeof FORMAT;
  /** ISO 8601. */
  readonly date: string;
  readonly durationSeconds: number;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly volume: string;
  readonly input: { readonly name: string; readonly files: number; readonly folders: number; readonly others: number; readonly bytes: number };
  readonly peers: readonly DescribedPeer[];
  /** Peers and scenarios that were not measured at all, and why. */
  readonly skipped: readonly { readonly what: string; readonly reason: string; /** Not because of the machine: something is wrong. */ readonly failed: boolean }[];
  readonly scenarios: readonly DescribedScenario[];
  readonly measurements: readonly Measurement[];
}
