import { isRegular, isFolder, isSymlink } from './inode-types.js';
import { formatObjectId } from './object-id.js';
import type { TreeNode, TreeReader } from './tree-reader.js';

/**
 * The canonical text form of docs/protocols/control.md, line by line without the newline: depth-first in entry order,
 * the root as `/`. The same tree gives the same text in both readers. @throws BAD_TREE
 */
export function* dumpTree(tree: TreeReader): Generator<string> {
  const root = tree.node(0);
  yield dumpNode(tree, '/', root);
  // A stack of its own: a hostile image may be deeper than the call stack.
  const stack = [{ path: '', entries: tree.entries(root) }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const next = top.entries.next();
    if (next.done === true) {
      stack.pop();
      continue;
    }
    const path = `${top.path}/${escapeBytes(next.value.name)}`;
    const node = next.value.child;
    yield dumpNode(tree, path, node);
    if (isFolder(node.mode)) stack.push({ path, entries: tree.entries(node) });
  }
}

function dumpNode(tree: TreeReader, path: string, node: TreeNode): string {
  const mtime = `${node.mtimeSeconds}.${String(node.mtimeNanoseconds).padStart(9, '0')}`;
  const numbers = `${node.mode.toString(8)} ${node.uid} ${node.gid} ${node.nlink} ${node.size} ${node.blocks}`;
  return `${path} ${numbers} ${mtime} ${node.rdev} ${node.number + 1} ${typeData(tree, node)} ${xattrText(tree, node)}`;
}

function typeData(tree: TreeReader, node: TreeNode): string {
  if (isSymlink(node.mode)) return `target=${escapeBytes(tree.target(node))}`;
  if (!isRegular(node.mode)) return '-';
  const object = tree.object(node);
  return object === undefined ? 'empty' : `object=${formatObjectId(object)}`;
}

function xattrText(tree: TreeReader, node: TreeNode): string {
  const xattrs = tree.xattrs(node);
  if (xattrs.length === 0) return '-';
  return xattrs.map(({ name, value }) => `${escapeBytes(name)}=${value.toString('hex')}`).join(',');
}

/** Everything outside 0x21–0x7e, and `%`, `,` and `=`, as `%XX`. */
export function escapeBytes(raw: string): string {
  return raw.replace(/[^\x21-\x7e]|[%,=]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}
