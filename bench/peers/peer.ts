import type { Input } from '../inputs/input.js';

/** What a figure of a peer stands for, besides its speed. */
export interface PeerMode {
  /** Where the pages and the metadata of a root are kept between calls. */
  readonly caching: string;
  /** What has reached the disk when a change has been made, above all at copy-up. */
  readonly durability: string;
}

/** One root of one peer. Made unmounted; may be mounted and unmounted any number of times. */
export interface PeerRoot {
  /** Where it is when it is mounted. */
  readonly path: string;
  mount(): Promise<void>;
  /** When it returns, nothing of the mount is left, its processes included. Does nothing if it is not mounted. */
  unmount(): Promise<void>;
  /** Takes all changes back. Of an unmounted root. */
  reset(): Promise<void>;
  /** Removes an unmounted root for good. */
  discard(): Promise<void>;
  /** Of a mounted root. */
  mode(): Promise<PeerMode>;
  /** The processes that serve a mounted root, where there are any. */
  processes?(): readonly number[];
  /** The folder of the host where its changes are kept, by the same paths. */
  readonly changes?: string;
  /** A command that mounts it, as a user would write it; its end means that the root is there. */
  readonly mountCommand?: readonly string[];
  /** FUSE requests answered since the mount, by opcode, where the peer can tell. */
  requests?(): Promise<ReadonlyMap<string, number>>;
}

/**
 * What not every peer can do. `copy-on-write`: many roots on one input, each with its own changes. `xattrs`: user
 * xattrs. `owners`: a new file belongs to the user who makes it. `daemon`: has processes. `mount`: is a mount of its own.
 */
export type Ability = 'copy-on-write' | 'xattrs' | 'owners' | 'daemon' | 'mount';

/** One way to show a root to programs. A file of this folder each; all.ts lists them. */
export interface Peer {
  readonly name: string;
  readonly what: string;
  readonly abilities: readonly Ability[];
  /** Measured only where a scenario names it: another form of a peer that differs only there. */
  readonly onlyWhereNamed?: true;
  /** @returns why it cannot be measured here, undefined if it can */
  unusable(): Promise<string | undefined>;
  /** @param slot names this root among all of the run; its changes go to the slot's folder */
  makeRoot(input: Input, slot: string): Promise<PeerRoot>;
}
