import type { Input } from '../runner/input.js';

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
  /** Of a mounted root. */
  mode(): Promise<PeerMode>;
  /** FUSE requests answered since the mount, by opcode, where the peer can tell. */
  requests?(): Promise<ReadonlyMap<string, number>>;
}

/** One way to show a root to programs. A file of this folder each; all.ts lists them. */
export interface Peer {
  readonly name: string;
  readonly what: string;
  /** @returns why it cannot be measured here, undefined if it can */
  unusable(): Promise<string | undefined>;
  /** @param slot names this root among all of the run; its changes go to the slot's folder */
  makeRoot(input: Input, slot: string): Promise<PeerRoot>;
}
