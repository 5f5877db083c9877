import { expect, test } from 'vitest';
import type { Candidate } from '../../../src/dedup/candidate.js';
import { groupByContent, likelyEqual, sharingEnds, sharingSizes } from '../../../src/dedup/plan-links.js';

let inodes = 0;

function file(container: string, path: string, changes: Partial<Candidate> = {}): Candidate {
  inodes += 1;
  return { container, inode: inodes, path, sizeBytes: 100, allocatedBytes: 4096, mtimeSeconds: 7, mtimeNanoseconds: 0, isPartial: false, ...changes };
}

const nameOf = ({ container, path }: Candidate): string => `${container}${path}`;

test('of a size that neither another file nor an object has, nothing is read', () => {
  const files = [file('c1', '/a'), file('c2', '/b'), file('c1', '/alone', { sizeBytes: 7 }), file('c1', '/known', { sizeBytes: 9 })];
  const objects = (size: number): { hash: string; variant: number }[] => (size === 9 ? [{ hash: 'f'.repeat(32), variant: 0 }] : []);
  expect(sharingSizes(files, objects).map(nameOf)).toEqual(['c1/a', 'c2/b', 'c1/known']);
});

test('what looks the same in several containers is together; what differs in anything, is known, or is partial is alone', () => {
  const known = file('c4', '/a');
  const files = [
    file('c1', '/a'), file('c1', '/b'), file('c2', '/a'), file('c3', '/a'), known, file('c5', '/a', { mtimeSeconds: 8 }), file('c6', '/a', { mtimeNanoseconds: 1 }),
    file('c7', '/a', { sizeBytes: 101 }), file('c8', '/a', { isPartial: true }), file('c2', '/b'),
  ];
  const found = likelyEqual(files, (each) => each === known).map(({ first, others }) => [first, ...others].map(nameOf));
  expect(found).toEqual([['c1/a', 'c2/a', 'c3/a'], ['c1/b', 'c2/b'], ['c4/a'], ['c5/a'], ['c6/a'], ['c7/a'], ['c8/a']]);
});

test('of ends that neither another file nor an object has, no more is read; a file may stand for several', () => {
  const files = ['x', 'x', 'y', 'z', 'many'].map((ends, number) => ({ ...file('c1', `/${number}`), ends }));
  const wanted = sharingEnds(files, ({ ends }) => ends, (size, ends) => size === 100 && ends === 'z', ({ ends }) => (ends === 'many' ? 2 : 1));
  expect(wanted.map(({ ends }) => ends)).toEqual(['x', 'x', 'z', 'many']);
});

test('groups have one size and one fingerprint', () => {
  const files = [file('c1', '/a'), file('c2', '/b'), file('c3', '/c', { sizeBytes: 5 }), file('c4', '/unread')];
  const groups = groupByContent(files, ({ path }) => (path === '/unread' ? undefined : 'hash'));
  expect(groups.map(({ sizeBytes, files: same }) => [sizeBytes, same.map(nameOf)])).toEqual([[100, ['c1/a', 'c2/b']], [5, ['c3/c']]]);
});
