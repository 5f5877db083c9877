import type { PeerMode } from '../peers/peer.js';
import type { Machine } from '../runner/machine.js';
import type { CacheState } from '../scenarios/scenario.js';

/*
 * The results of one run, as the JSON file has them. Fields are only added, never changed or removed; FORMAT counts up
 * when a meaning changes all the same. Everything that a table or a plot shows can be made of it again.
 */
export const FORMAT = 1;

/** One place in the rotation: a peer, or the reference for the second time. */
export interface Slot {
  /** Unique; the peer's name, or that with `-again`. */
  readonly name: string;
  readonly peer: string;
  readonly role: 'reference' | 'again' | 'peer';
}

export interface SlotSamples {
  readonly slot: string;
  /** One for each round, in the order of rounds. */
  readonly ns: readonly number[];
  /** FUSE requests answered during the last round, by opcode, where the peer can tell. */
  readonly requests?: Readonly<Record<string, number>>;
}

export interface Measurement {
  readonly scenario: string;
  readonly cache: CacheState;
  /** What each run did: files, bytes. The same for all slots, or there would be no result. */
  readonly work: Readonly<Record<string, number>>;
  readonly samples: readonly SlotSamples[];
}

export interface DescribedPeer extends PeerMode {
  readonly name: string;
  readonly what: string;
}

export interface DescribedScenario {
  readonly name: string;
  readonly what: string;
  readonly meaning: string;
}

export interface BenchResult {
  readonly format: typeof FORMAT;
  /** ISO 8601. */
  readonly date: string;
  readonly durationSeconds: number;
  readonly quick: boolean;
  readonly runs: number;
  readonly machine: Machine;
  readonly volume: string;
  readonly input: { readonly name: string; readonly files: number; readonly folders: number; readonly others: number; readonly bytes: number };
  readonly slots: readonly Slot[];
  readonly peers: readonly DescribedPeer[];
  /** Peers that were left out, and why. */
  readonly skipped: readonly { readonly peer: string; readonly reason: string }[];
  readonly scenarios: readonly DescribedScenario[];
  readonly measurements: readonly Measurement[];
}
