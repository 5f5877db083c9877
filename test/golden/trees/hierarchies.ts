import { Hierarchy, type NodeIndex, type NodeMetadata } from '../../../src/store/hierarchy.js';
import { encodeDevice } from '../../../src/store/inode-types.js';
import { rawFromText } from '../../../src/store/raw-names.js';

/** Builds golden hierarchies; every number in them is written down here, so nothing depends on the machine. */
const PLAIN: NodeMetadata = { mode: 0o100644, uid: 0, gid: 0, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 0 };

function file(tree: Hierarchy, object: number | undefined, metadata: Partial<NodeMetadata> = {}): NodeIndex {
  const node = tree.addNode({ ...PLAIN, ...metadata });
  const size = object === undefined ? 0 : (tree.objects[object]?.size ?? 0);
  tree.setContent(node, object, size, 8 * Math.ceil(size / 4096));
  return node;
}

function symlink(tree: Hierarchy, target: string): NodeIndex {
  const node = tree.addNode({ ...PLAIN, mode: 0o120777 });
  tree.setTarget(node, target);
  return node;
}

function folder(tree: Hierarchy, metadata: Partial<NodeMetadata> = {}): NodeIndex {
  return tree.addNode({ ...PLAIN, mode: 0o040755, ...metadata });
}

function special(tree: Hierarchy, mode: number, rdev = 0): NodeIndex {
  return tree.addNode({ ...PLAIN, mode, rdev });
}

/** A made-up object; the trees are tested without a store. */
function object(tree: Hierarchy, first: string, size: number, variant = 0): number {
  return tree.objects.push({ hash: first.padEnd(32, '0123456789abcdef'), variant, size }) - 1;
}

function empty(): Hierarchy {
  return new Hierarchy();
}

/** Each type of inode, each xattr case, hard links, shared strings, odd names and times. */
function rich(): Hierarchy {
  const tree = new Hierarchy({ mode: 0o041777, uid: 1, gid: 2, mtimeSeconds: -1, mtimeNanoseconds: 999_999_999 });
  const hello = object(tree, 'aa', 6);
  const big = object(tree, '00', 5_000_000_000);
  const collided = object(tree, 'aa', 7, 3);
  const usr = folder(tree, { mtimeSeconds: -2_208_988_800, mtimeNanoseconds: 500_000_000 });
  tree.setChild(tree.root, 'usr', usr);
  const bin = folder(tree);
  tree.setChild(usr, 'bin', bin);
  tree.setChild(tree.root, 'empty-folder', folder(tree, { mode: 0o040700, uid: 4_294_967_294, gid: 65_534 }));
  const program = file(tree, hello, { mode: 0o104755, mtimeSeconds: 4_102_444_800, mtimeNanoseconds: 1 });
  tree.setXattrs(program, [
    { name: 'user.empty', value: Buffer.alloc(0) },
    { name: 'security.capability', value: Buffer.from('0100000200200000000000000000000000000000', 'hex') },
    { name: 'user.a=b,c%', value: Buffer.from([0, 255, 10]) },
  ]);
  tree.setChild(bin, 'ls', program);
  tree.setChild(bin, 'dir', program);
  tree.setChild(tree.root, 'hard', program);
  tree.setChild(bin, 'collided', file(tree, collided));
  const acl = Buffer.from('0200000001000600ffffffff04000400ffffffff10000400ffffffff20000400ffffffff', 'hex');
  const shared = file(tree, undefined, { mode: 0o100644 });
  tree.setXattrs(shared, [{ name: 'system.posix_acl_access', value: acl }]);
  tree.setChild(tree.root, 'empty', shared);
  const defaults = folder(tree, { mode: 0o042775 });
  tree.setXattrs(defaults, [{ name: 'system.posix_acl_access', value: acl }]);
  tree.setChild(tree.root, 'acl', defaults);
  const sparse = tree.addNode(PLAIN);
  tree.setContent(sparse, big, 5_000_000_000, 16);
  tree.setChild(tree.root, 'sparse', sparse);
  tree.setChild(tree.root, 'sbin', symlink(tree, 'usr/bin'));
  tree.setChild(tree.root, 'self', symlink(tree, 'self'));
  const linked = symlink(tree, '/nowhere with space\n');
  tree.setChild(tree.root, 'link-a', linked);
  tree.setChild(usr, 'link-b', linked);
  tree.setChild(tree.root, 'longest', symlink(tree, 'x'.repeat(4095)));
  tree.setChild(tree.root, 'null', special(tree, 0o020666, encodeDevice(1, 3)));
  tree.setChild(tree.root, 'disk', special(tree, 0o060660, encodeDevice(259, 1_048_575)));
  tree.setChild(tree.root, 'pipe', special(tree, 0o010600));
  tree.setChild(tree.root, 'socket', special(tree, 0o140755));
  for (const name of ['\xff\xfe', 'a', 'ab', 'abc', 'abcd', 'abcde', 'abc\x01', '-', '%,=', ' ', '\n', '\x01', rawFromText('größe'), 'y'.repeat(255)]) {
    tree.setChild(tree.root, name, file(tree, undefined));
  }
  return tree;
}

/** Sections that cross pages: many nodes, long names, an xattr of 64 KiB. */
function wide(): Hierarchy {
  const tree = new Hierarchy();
  for (let i = 0; i < 300; i += 1) {
    const name = `file-${String(i).padStart(4, '0')}-${'n'.repeat(i % 200)}`;
    const node = file(tree, object(tree, i.toString(16).padStart(4, '0'), i + 1));
    tree.setXattrs(node, [{ name: 'user.number', value: Buffer.from(String(i % 7)) }]);
    tree.setChild(tree.root, name, node);
  }
  const big = file(tree, undefined);
  tree.setXattrs(big, [{ name: 'user.big', value: Buffer.alloc(65_536, 0x5a) }]);
  tree.setChild(tree.root, 'big', big);
  return tree;
}

/** A chain of folders. */
function deep(): Hierarchy {
  const tree = new Hierarchy();
  let at = tree.root;
  for (let level = 0; level < 200; level += 1) {
    const next = folder(tree);
    tree.setChild(at, 'd', next);
    at = next;
  }
  tree.setChild(at, 'end', file(tree, undefined));
  return tree;
}

/** What the refused images are made from: small, with each kind of record. */
export function base(): Hierarchy {
  const tree = new Hierarchy();
  const one = object(tree, '11', 6);
  const two = object(tree, '22', 9000);
  const sub = folder(tree);
  tree.setChild(tree.root, 'sub', sub);
  tree.setChild(tree.root, 'file', file(tree, one));
  const large = file(tree, two);
  tree.setXattrs(large, [
    { name: 'user.a', value: Buffer.from('first') },
    { name: 'user.b', value: Buffer.from('second') },
  ]);
  tree.setChild(tree.root, 'large', large);
  const other = file(tree, undefined);
  tree.setXattrs(other, [{ name: 'user.c', value: Buffer.from('third') }]);
  tree.setChild(tree.root, 'other', other);
  tree.setChild(tree.root, 'link', symlink(tree, 'sub/inner'));
  const inner = folder(tree);
  tree.setChild(sub, 'inner', inner);
  tree.setChild(sub, 'null', special(tree, 0o020666, encodeDevice(1, 3)));
  tree.setChild(inner, 'deep', file(tree, undefined));
  return tree;
}

/** Name of the image → what it is made of. */
export const GOLDEN: Readonly<Record<string, () => Hierarchy>> = { empty, rich, wide, deep, base };
