import type { Peer, PeerRoot } from '../../../bench/peers/peer.js';
import type { BenchResult, Measurement } from '../../../bench/report/result.js';

/** A root that only writes down what is done with it. */
export function fakeRoot(name: string, log: string[], requests?: () => ReadonlyMap<string, number>): PeerRoot {
  const note = (what: string) => async (): Promise<void> => { log.push(`${what} ${name}`); };
  return {
    path: name,
    mount: note('mount'),
    unmount: note('unmount'),
    reset: note('reset'),
    discard: note('discard'),
    mode: async () => ({ caching: '', durability: '' }),
    ...(requests !== undefined && { requests: async () => requests() }),
  };
}

export function fakePeer(name: string, more: Partial<Peer> = {}): Peer {
  return { name, what: '', abilities: [], unusable: async () => undefined, makeRoot: async (_input, slot) => fakeRoot(slot, []), ...more };
}

const MS = 1e6;

export function measurementOf(values: Readonly<Record<string, readonly (number | null)[]>>, more: Partial<Measurement> = {}): Measurement {
  const samples = Object.entries(values).map(([slot, of]) => ({ slot, values: of.map((value) => (value === null ? null : value * MS)) }));
  return { scenario: 'read-root', variant: 'cold', unit: 'ns', per: null, work: { files: 12, bytes: 2048 }, reference: 'overlayfs', again: 'overlayfs-again', samples, ...more };
}

export function resultOf(measurements: readonly Measurement[], group = 'work'): BenchResult {
  const scenarios = [...new Set(measurements.map(({ scenario }) => scenario))];
  return {
    format: 2,
    date: '2030-01-02T03:04:05.000Z',
    durationSeconds: 60,
    quick: false,
    machine: { cores: 2, cpu: 'a CPU', kernel: '6.18', memoryBytes: 8 * 1024 ** 3, load: 0.25, commit: 'abc' },
    volume: 'ext4',
    input: { name: 'root.tar', files: 12, folders: 3, others: 1, bytes: 2048 },
    peers: [{ name: 'templatefs', what: 'this <project>', caching: 'passthrough yes', durability: 'fsync at copy-up' }],
    skipped: [{ what: 'unionfs-fuse', reason: 'not installed', failed: false }],
    scenarios: scenarios.map((name) => ({ name, group, what: `does ${name}`, meaning: 'backup', durability: 'nothing is written', leftOut: [{ peer: 'fuse-native', reason: 'too slow' }] })),
    measurements,
  };
}
