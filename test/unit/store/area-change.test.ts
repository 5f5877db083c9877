import { expect, test } from 'vitest';
import { applyChange, changeBetween } from '../../../src/store/area-change.js';
import { inodeNumber, ownContent, readAreaImage, writeAreaImage, type AreaImage } from '../../../src/store/area-image.js';
import { Hierarchy } from '../../../src/store/hierarchy.js';
import { TreeReader } from '../../../src/store/tree-reader.js';
import { writeTree } from '../../../src/store/write-tree.js';
import { folder, image, inode } from '../../support/area-image-builder.js';
import { temporaryStore } from './temporary-store.js';

const DATA = { uid: 0, gid: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 };
const OWN = 2 ** 28;
const OBJECT = { hash: 'ab'.repeat(16), size: 5 };
const anything = (): boolean => true;
const nothing = (): boolean => false;

/** A tree with the folders /etc, /srv and /usr, and the files /etc/motd and /etc/old. */
function smallTree(): { readonly tree: TreeReader; readonly at: (path: string) => number } {
  const paths = temporaryStore();
  const hierarchy = new Hierarchy();
  const add = (parent: number, name: string, mode: number): number => {
    const node = hierarchy.addNode({ ...DATA, mode });
    hierarchy.setChild(parent, name, node);
    return node;
  };
  const etc = add(hierarchy.root, 'etc', 0o040755);
  for (const name of ['motd', 'old']) add(etc, name, 0o100644);
  for (const name of ['srv', 'usr']) add(hierarchy.root, name, 0o040755);
  const tree = TreeReader.open(paths.tree(writeTree(paths, hierarchy).digest));
  return { tree, at: (path) => tree.lookup(path)?.number ?? -1 };
}

/** What is at a path, in a word. */
function shown(found: AreaImage, path: string): string {
  const entry = found.entries.get(path);
  if (entry === undefined) return 'nothing';
  if (entry.kind !== 'inode') return entry.kind;
  return ownContent(entry.inode)?.toString() ?? (entry.inode.node?.readUInt8(1) === 1 ? 'object' : 'folder');
}

const numberOf = (found: AreaImage, path: string): number | undefined => {
  const entry = found.entries.get(path);
  return entry?.kind === 'inode' ? inodeNumber(entry.inode) : undefined;
};

test('an image becomes the stream that it was read from', () => {
  const { at } = smallTree();
  const made = image({ '/': folder(1, 0), '/a': folder(OWN), '/a/z': inode({ number: OWN + 1, content: 'text' }), '/a-b': inode({ number: OWN + 2, object: OBJECT }), '/a.b': 'whiteout', '/etc': folder(at('/etc') + 1, at('/etc')), '/hard': { link: OWN + 3 } }, [inode({ number: OWN + 3, content: 'two' })]);
  const stream = writeAreaImage(made);
  const again = readAreaImage(stream);
  expect([...again.entries.keys()].sort()).toEqual([...made.entries.keys()].sort());
  expect(writeAreaImage(again).equals(stream)).toBe(true);
  for (const size of [0, 7, 20, stream.length - 1]) expect(() => readAreaImage(stream.subarray(0, size))).toThrow(expect.objectContaining({ code: 'INTEGRITY' }) as Error);
});

test('what was written is made in another private area, under numbers of its own', () => {
  const { tree, at } = smallTree();
  const root = folder(1, 0);
  const etc = folder(at('/etc') + 1, at('/etc'));
  const before = image({ '/': root });
  const after = image({
    '/': root, '/etc': etc, '/etc/old': 'whiteout', '/etc/new': inode({ number: OWN, content: 'new' }), '/usr': folder(at('/usr') + 1, at('/usr')),
    '/usr/php': inode({ number: OWN + 1, object: OBJECT }), '/usr/one': { link: OWN + 2 }, '/usr/two': { link: OWN + 2 },
  }, [inode({ number: OWN + 2, content: 'linked' })]);
  const change = changeBetween(before, after, tree);
  expect([...change.written.keys()].sort()).toEqual(['/etc/new', '/etc/old', '/usr/one', '/usr/php', '/usr/two']);

  // A folder that is there only for what lies in it is no difference.
  const target = image({ '/': root, '/etc': etc, '/srv': folder(at('/srv') + 1, at('/srv')), '/srv/data': inode({ number: OWN, content: 'mine' }) });
  expect(applyChange(change, target, tree, nothing)).toEqual({ kind: 'refused', path: '/srv/data' });
  const applied = applyChange(change, target, tree, (path) => path === '/srv/data');
  if (applied.kind === 'refused') throw new Error(applied.path);
  const result = applied.image;
  expect(Object.fromEntries(['/etc/new', '/etc/old', '/usr/php', '/srv/data', '/usr/one'].map((path) => [path, shown(result, path)]))).toEqual({
    '/etc/new': 'new', '/etc/old': 'whiteout', '/usr/php': 'object', '/srv/data': 'mine', '/usr/one': 'link',
  });
  expect(numberOf(result, '/srv/data')).toBe(OWN);
  const numbers = ['/etc/new', '/usr/php'].map((path) => numberOf(result, path));
  for (const number of [...numbers, ...result.indexed.keys()]) expect(number).toBeGreaterThanOrEqual(target.next);
  expect(result.next).toBeGreaterThan(Math.max(...result.indexed.keys(), ...numbers.map((number) => number ?? 0)));
  expect(result.entries.get('/usr/one')).toEqual(result.entries.get('/usr/two'));
});

test('what the change touches has to be as it was, whatever is said of it', () => {
  const { tree, at } = smallTree();
  const root = folder(1, 0);
  const etc = folder(at('/etc') + 1, at('/etc'));
  const changed = changeBetween(image({ '/': root }), image({ '/': root, '/etc': etc, '/etc/new': inode({ number: OWN, content: 'new' }), '/etc/motd': inode({ number: at('/etc/motd') + 1, origin: at('/etc/motd'), content: 'changed' }) }), tree);
  const refusals: Record<string, AreaImage> = {
    '/etc/new': image({ '/': root, '/etc': etc, '/etc/new': inode({ number: OWN + 5, content: 'own' }) }),
    '/etc/motd': image({ '/': root, '/etc': etc, '/etc/motd': 'whiteout' }),
    '/etc': image({ '/': root, '/etc': folder(OWN + 5) }),
  };
  for (const [path, target] of Object.entries(refusals)) expect(applyChange(changed, target, tree, anything)).toEqual({ kind: 'refused', path });
  // A folder that goes takes nothing along that is not known.
  const with_ = image({ '/': root, '/srv': folder(at('/srv') + 1, at('/srv')), '/srv/app': folder(OWN), '/srv/app/file': inode({ number: OWN + 1, content: 'x' }) });
  const gone = changeBetween(with_, image({ '/': root, '/srv': folder(at('/srv') + 1, at('/srv')) }), tree);
  const more = image({ '/': root, '/srv': folder(at('/srv') + 1, at('/srv')), '/srv/app': folder(OWN), '/srv/app/file': inode({ number: OWN + 1, content: 'x' }), '/srv/app/mine': inode({ number: OWN + 2, content: 'y' }) });
  expect(applyChange(gone, more, tree, anything)).toEqual({ kind: 'refused', path: '/srv/app/mine' });
  const applied = applyChange(gone, with_, tree, nothing);
  expect(applied.kind === 'applied' && [...applied.image.entries.keys()]).toEqual(['/', '/srv']);
});

test('a file that is written again keeps its number, and times of folders come with what is in them', () => {
  const { tree, at } = smallTree();
  const root = folder(1, 0);
  const srv = folder(at('/srv') + 1, at('/srv'));
  const before = image({ '/': root, '/srv': srv, '/srv/state': inode({ number: OWN + 7, content: 'one' }) });
  const after = image({ '/': root, '/srv': { ...srv, head: Buffer.from(srv.head).fill(1, 20, 21) }, '/srv/state': inode({ number: OWN + 7, content: 'two' }) });
  const target = image({ '/': root, '/srv': srv, '/srv/state': inode({ number: OWN + 3, content: 'one' }) });
  const applied = applyChange(changeBetween(before, after, tree), target, tree, nothing);
  if (applied.kind === 'refused') throw new Error(applied.path);
  expect(shown(applied.image, '/srv/state')).toBe('two');
  expect(numberOf(applied.image, '/srv/state')).toBe(OWN + 3);
  const entry = applied.image.entries.get('/srv');
  expect(entry?.kind === 'inode' && entry.inode.head.readUInt8(20)).toBe(1);
});

test('a symlink that each has made for itself is the same; to another place it is not', () => {
  const { tree, at } = smallTree();
  const etc = folder(at('/etc') + 1, at('/etc'));
  const linked = (number: number, mtime: number, target: string): AreaImage =>
    image({ '/': folder(1, 0), '/etc': etc, '/etc/link': { ...inode({ mode: 0o120777, number, mtime }), content: Buffer.from(target) } });
  const before = linked(OWN, 1, '../usr');
  const after = image({ ...Object.fromEntries([...before.entries].map(([path, entry]) => [path, entry.kind === 'inode' ? entry.inode : 'whiteout'])), '/etc/new': inode({ number: OWN + 1, content: 'new' }) });
  const change = changeBetween(before, after, tree);
  expect([...change.written.keys()]).toEqual(['/etc/new']);
  const applied = applyChange(change, linked(OWN + 7, 2, '../usr'), tree, nothing);
  expect(applied.kind === 'applied' && numberOf(applied.image, '/etc/link')).toBe(OWN + 7);
  expect(applyChange(change, linked(OWN, 1, '../srv'), tree, nothing)).toEqual({ kind: 'refused', path: '/etc/link' });
});
