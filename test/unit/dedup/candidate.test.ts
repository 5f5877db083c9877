import { describe, expect, test } from 'vitest';
import { DEFAULT_POLICY, findCandidates, type LinkPolicy } from '../../../src/dedup/candidate.js';
import type { ScanRecord } from '../../../src/engine/scan.js';

const NOW = 1_000_000;

function record(path: string, changes: Partial<ScanRecord> = {}): ScanRecord {
  const inode = 1000 + Buffer.from(path).readUIntBE(0, 1) + Buffer.from(path.padEnd(6)).readUIntBE(1, 5);
  return {
    kind: 'file', path, inode, mode: 0o100644, uid: 0, gid: 0, sizeBytes: 5000, allocatedBytes: 8192, mtimeSeconds: NOW - 100, mtimeNanoseconds: 5,
    origin: null, object: null, links: 1, ...changes,
  };
}

function chosen(records: readonly ScanRecord[], policy: Partial<LinkPolicy> = {}): { candidates: string[]; skipped: Record<string, string> } {
  const { candidates, skipped } = findCandidates('c1', records, { ...DEFAULT_POLICY, ...policy }, NOW);
  return { candidates: candidates.map(({ path }) => path), skipped: Object.fromEntries(skipped.map(({ path, reason }) => [path, reason])) };
}

describe('what may become a link', () => {
  test('private regular files with content, each inode once', () => {
    const records = [
      record('/a'), record('/b', { kind: 'partial', object: 'f'.repeat(32) }), record('/same', { inode: record('/a').inode }), record('/empty', { sizeBytes: 0 }),
      record('/folder', { kind: 'dir', mode: 0o40755 }), record('/pipe', { kind: 'fifo', mode: 0o10644 }), record('inode:12'), record('/unseen', { inode: 0 }),
      record('/link', { kind: 'link', object: 'f'.repeat(32), allocatedBytes: 0 }), record('/gone', { kind: 'whiteout', mode: 0o20000 }),
    ];
    expect(chosen(records)).toEqual({ candidates: ['/a', '/b'], skipped: {} });
  });

  test('by least and greatest size, both included', () => {
    const records = [99, 100, 200, 201].map((sizeBytes) => record(`/${sizeBytes}`, { sizeBytes, allocatedBytes: 4096 }));
    expect(chosen(records, { leastBytes: 100, greatestBytes: 200 }).candidates).toEqual(['/100', '/200']);
    expect(chosen(records, { leastBytes: 100 }).candidates).toEqual(['/100', '/200', '/201']);
  });

  test('by path: whole names, and all below them', () => {
    const records = ['/usr', '/usr/lib/a', '/usrlocal/a', '/opt/b'].map((path) => record(path));
    expect(chosen(records, { paths: ['/usr'] }).candidates).toEqual(['/usr', '/usr/lib/a']);
    expect(chosen(records, { paths: ['/opt', '/usrlocal'] }).candidates).toEqual(['/usrlocal/a', '/opt/b']);
    expect(chosen(records, { paths: ['/'] }).candidates).toHaveLength(4);
  });

  test('by age since the last write, with a reason for what is too young', () => {
    const records = [record('/old', { mtimeSeconds: NOW - 60 }), record('/young', { mtimeSeconds: NOW - 59 }), record('/future', { mtimeSeconds: NOW + 5 })];
    expect(chosen(records, { leastAgeSeconds: 60 })).toEqual({ candidates: ['/old'], skipped: { '/young': 'written to lately', '/future': 'written to lately' } });
  });

  test('not what is sparse, nor what has no path that could be told', () => {
    const records = [record('/sparse', { sizeBytes: 8 << 20, allocatedBytes: 4096 }), record('/deep/.../name')];
    expect(chosen(records)).toEqual({ candidates: [], skipped: { '/sparse': 'it has large holes', '/deep/.../name': 'its path is too long' } });
  });

  test('and links that have kept their content are asked for again', () => {
    const object = 'e'.repeat(32);
    const { kept } = findCandidates('c1', [record('/kept', { kind: 'link', object }), record('/done', { kind: 'link', object, allocatedBytes: 4096 })], DEFAULT_POLICY, NOW);
    expect(kept).toMatchObject([{ path: '/kept', object }]);
  });
});
