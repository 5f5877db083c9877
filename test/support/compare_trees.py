#!/usr/bin/env python3
"""Compares two folder trees: compare_trees.py [--without NAME]... [--any-mtime] WANTED FOUND

Content, type, mode, owner, mtime to the nanosecond, link count (of folders too), size, device number, symlink target,
all xattrs with ACLs and capabilities, which names are hard links of one another, and the order-free list of names. In
FOUND also d_type and d_ino against stat. Prints the differences (at most 40) and ends with 1 if there are any; ends with
a line that tells how many entries were compared.
"""
import argparse
import os
import stat
import sys

parser = argparse.ArgumentParser()
parser.add_argument('--without', action='append', default=[], help='a path below both trees that is left out')
parser.add_argument('--any-mtime', action='store_true', help='times may differ')
parser.add_argument('--no-d-ino', action='store_true', help='FOUND is an overlayfs, whose d_ino is not its st_ino')
parser.add_argument('wanted')
parser.add_argument('found')
options = parser.parse_args()
wanted, found = os.fsencode(options.wanted), os.fsencode(options.found)
without = {os.fsencode(path.strip('/')) for path in options.without}
differences = []
counts = {}


def differ(path, what, a, b):
    differences.append(f'{path!r}: {what}: wanted {a!r}, found {b!r}')


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def same_content(path):
    with open(os.path.join(wanted, path), 'rb', buffering=0) as a, open(os.path.join(found, path), 'rb', buffering=0) as b:
        while True:
            left = a.read(1 << 20)
            right = b.read(len(left) or 1)
            while right and len(right) < len(left):
                more = b.read(len(left) - len(right))
                if not more:
                    break
                right += more
            if left != right:
                return False
            if not left:
                return True


forward, backward = {}, {}


def compare_entry(path):
    a_path, b_path = os.path.join(wanted, path) if path else wanted, os.path.join(found, path) if path else found
    a, b = os.lstat(a_path), os.lstat(b_path)
    kind = stat.S_IFMT(a.st_mode)
    counts[kind] = counts.get(kind, 0) + 1
    for name in ('st_mode', 'st_uid', 'st_gid', 'st_mtime_ns', 'st_nlink'):
        if options.any_mtime and name == 'st_mtime_ns':
            continue
        if getattr(a, name) != getattr(b, name):
            form = oct if name == 'st_mode' else int
            differ(path, name, form(getattr(a, name)), form(getattr(b, name)))
    if kind != stat.S_IFMT(b.st_mode):
        return
    if not stat.S_ISDIR(kind) and a.st_size != b.st_size:
        differ(path, 'st_size', a.st_size, b.st_size)
    if (stat.S_ISCHR(kind) or stat.S_ISBLK(kind)) and a.st_rdev != b.st_rdev:
        differ(path, 'st_rdev', a.st_rdev, b.st_rdev)
    if stat.S_ISLNK(kind) and os.readlink(a_path) != os.readlink(b_path):
        differ(path, 'target', os.readlink(a_path), os.readlink(b_path))
    if stat.S_ISREG(kind) and not same_content(path):
        differ(path, 'content', '…', '…')
    a_xattrs, b_xattrs = xattrs(a_path), xattrs(b_path)
    if a_xattrs != b_xattrs:
        differ(path, 'xattrs', a_xattrs, b_xattrs)
    if forward.setdefault(a.st_ino, b.st_ino) != b.st_ino or backward.setdefault(b.st_ino, a.st_ino) != a.st_ino:
        differ(path, 'identity of the inode', a.st_ino, b.st_ino)
    if not stat.S_ISDIR(kind):
        return
    names = {e.name for e in os.scandir(a_path) if os.path.join(path, e.name) not in without}
    listed = {}
    for e in os.scandir(b_path):
        if os.path.join(path, e.name) in without:
            continue
        if e.name in listed:
            differ(path, 'listed twice', '', e.name)
        listed[e.name] = e
        status = os.lstat(os.path.join(b_path, e.name))
        if e.inode() != status.st_ino and not options.no_d_ino:
            differ(os.path.join(path, e.name), 'd_ino', status.st_ino, e.inode())
        if (e.is_dir(follow_symlinks=False), e.is_symlink()) != (stat.S_ISDIR(status.st_mode), stat.S_ISLNK(status.st_mode)):
            differ(os.path.join(path, e.name), 'd_type', oct(status.st_mode), 'another')
    if names != set(listed):
        differ(path, 'names', sorted(names - set(listed)), sorted(set(listed) - names))
    for name in sorted(names & set(listed)):
        compare_entry(os.path.join(path, name) if path else name)


sys.setrecursionlimit(20000)
compare_entry(b'')
for line in differences[:40]:
    print(line)
if len(differences) > 40:
    print(f'… and {len(differences) - 40} more')
print(f'{sum(counts.values())} entries compared, {len(differences)} differences')
sys.exit(1 if differences else 0)
