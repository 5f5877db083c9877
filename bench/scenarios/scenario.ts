import type { Input } from '../inputs/input.js';
import type { InputName } from '../inputs/all.js';
import type { Ability, Peer, PeerRoot } from '../peers/peer.js';
import type { Driver } from '../runner/driver.js';
import type { Sample } from '../runner/sample.js';

/**
 * How a root is readied for each timed run.
 * `cold`: mounted anew, and nothing of it is in memory.
 * `warm`: mounted all the time, and right after an untimed run of the same.
 * `used`: mounted all the time; what other runs have written is on disk. For what warms itself, or writes.
 * `fresh`: without changes, mounted anew.
 * `own`: the scenario does all that itself.
 */
export type Readiness = 'cold' | 'warm' | 'used' | 'fresh' | 'own';

/** One line of the table. */
export interface Variant {
  /** `warm`, `50 containers`; empty if there is only one. */
  readonly name: string;
  readonly ready: Readiness;
  /** Left out by --quick: takes minutes. */
  readonly fullOnly?: true;
}

export const COLD: Variant = { name: 'cold', ready: 'cold' };
export const WARM: Variant = { name: 'warm', ready: 'warm' };
/** Warm, by a pass of the driver itself before the clock starts. */
export const WARMED: Variant = { name: 'warm', ready: 'used' };
export const USED: Variant = { name: '', ready: 'used' };
export const FRESH: Variant = { name: '', ready: 'fresh' };

/** What a scenario has to work with, for one slot. */
export interface RunContext {
  readonly driver: Driver;
  readonly input: Input;
  readonly peer: Peer;
  /** Unique. */
  readonly slot: string;
  readonly variant: Variant;
  readonly quick: boolean;
  /** The checkout; what was built is below build/. */
  readonly checkout: string;
  /** What a run makes and later runs use again: archives, packages. Not on the volume. */
  readonly cacheFolder: string;
  /** An empty folder that is not on the volume: what programs need of themselves is loaded by running them on it. */
  readonly emptyFolder: string;
  readonly signal: AbortSignal;
}

export type Group = 'data' | 'metadata' | 'work' | 'memory' | 'scale' | 'store';

/** How long a run takes: how many rounds there are depends on it. Bytes that are counted are the same in each round: one is enough. */
export type Weight = 'light' | 'medium' | 'heavy' | 'slow' | 'counted';

/** What a scenario throws, from `setUp`, that cannot be measured on this machine; the others are. */
export class CannotMeasure extends Error {}

/** What was timed one after the other in one run: by name, each a line of the table. */
export type Parts = ReadonlyMap<string, Sample>;

/** One thing that users do, measured. all.ts lists them. */
export interface Scenario {
  readonly name: string;
  readonly group: Group;
  /** What is done and timed, in one line. */
  readonly what: string;
  /** Where a user meets it. */
  readonly meaning: string;
  /** What is on disk when a timed run has ended. */
  readonly durability: string;
  readonly variants: readonly Variant[];
  readonly input: InputName;
  /** Default: light. */
  readonly weight?: Weight;
  /** Default: ns. */
  readonly unit?: 'ns' | 'bytes';
  /** The name in `work` that the value is divided by in tables: the time of one file, of one write. */
  readonly per?: string;
  /** Only these peers: what is measured means nothing for others. */
  readonly only?: readonly string[];
  /** Peers without one of these are left out. */
  readonly needs?: readonly Ability[];
  /** Other forms of a peer that are measured here. */
  readonly also?: readonly string[];
  /** Peers that are left out for another reason, which stands there. */
  readonly without?: Readonly<Record<string, string>>;
  /** What the others are compared with, in place of kernel overlayfs. */
  readonly reference?: string;
  /** Once a slot and variant, untimed: used, warm: on the mounted root; own: before the first round. @throws CannotMeasure */
  setUp?(root: PeerRoot, context: RunContext): Promise<void>;
  /** Before each timed run, untimed: what it will use up. */
  prepare?(root: PeerRoot, context: RunContext): Promise<void>;
  /** Cold only: runs the programs on nothing, so that they are in memory. Default: the driver. */
  load?(context: RunContext): Promise<void>;
  /** One measured run. @returns one sample, or one for each of its parts, in their order */
  run(root: PeerRoot, context: RunContext): Promise<Sample | Parts>;
  /** Undoes setUp, also after an error. Not interruptible. */
  tearDown?(root: PeerRoot, context: RunContext): Promise<void>;
  /** When all variants are done, also after an error. Not interruptible. */
  end?(): Promise<void>;
  /** The root is to be without changes again when all is done. Always so for `fresh`. */
  readonly changesRoot?: true;
}

/** For scenarios of ten thousands of calls: with 150 µs each that peer would take minutes. */
export const SLOW_IN_JAVASCRIPT: Readonly<Record<string, string>> = {
  'fuse-native': 'it would take minutes; the scenarios of data and metadata show what a call costs it',
};
/** For scenarios with many files, where unionfs-fuse is slow and nobody uses it. */
export const SLOW_PEERS: Readonly<Record<string, string>> = {
  ...SLOW_IN_JAVASCRIPT,
  'unionfs-fuse': 'it would take minutes; the scenarios of data and metadata show what a call costs it',
};
