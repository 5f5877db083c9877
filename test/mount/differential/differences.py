"""What a root does not do as ext4 does, each with its reason. Everything else is compared.

1. old readers       A descriptor that was opened read-only on a shared path, before the content of the template file became
                     the container's own, goes on reading the bytes it had (docs/architecture.md). What it reads must be
                     the present content or the content at its opening; maps made from it, its seek results and its locks are not
                     compared further, and opening it again through /proc may say ESTALE.
2. times of access   ctime and atime are not compared (but atime is right after it was set): passthrough reads and the
                     host's own mount options decide.
3. sizes on disk     st_blocks, sizes of folders, the places of holes: the host's affair.
4. mtime of pipes    The kernel tells a FUSE file system nothing of writes into its named pipes.
5. shifting ranges   FUSE has no FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE: EOPNOTSUPP.
6. empty chown       chown(2) that sets neither owner nor group, of a file with set-id bits or capabilities that is open for
                     writing, is the same to a FUSE file system as a write to it. Not tried.
7. removed folders   A folder that was removed while it is open or current keeps its attributes, but no extended ones; nor does a pipe,
                     of whose opens the kernel tells a FUSE file system nothing.
8. stores by maps    Where a file is not served by passthrough, a store through a shared map changes mtime when its pages are
                     written back, not when it is made: each is followed by msync(2).
9. failed whiteouts  ext4 changes the folder's mtime even when RENAME_WHITEOUT onto an existing name fails: not tried.
10. O_PATH           The kernel tells a FUSE file system nothing of O_PATH descriptors: a file without names that only they hold cannot
                     be opened again through /proc/self/fd. Not tried.
11. links of others   Whether a user may link a file of somebody else (fs.protected_hardlinks) the kernel asks of the mode it knows, which
                     still has the set-id bits that a write has just taken: each link(2) follows a stat(2), as in `ln`.
"""
import errno

REOPENS = ('reopen',)


def is_documented(op, root_slot, root, plain):
    """Whether two results differ as point 1 allows."""
    if root_slot is None or root_slot.old is None:
        return False
    if op['op'] in REOPENS:
        return root == ('error', errno.errorcode[errno.ESTALE])
    if root[0] != 'ok' or plain[0] != 'ok' or not isinstance(root[1], tuple):
        return False
    kind, at, got, *rest = root[1]
    if kind in ('read', 'mapread'):
        return got == root_slot.old[at:at + len(got)] and rest == list(plain[1][3:]) and is_whole(kind, root_slot, at, got, plain)
    return False


def is_whole(kind, slot, at, got, plain):
    """The old content is there to its old end, not less."""
    asked = len(plain[1][2])
    return kind == 'mapread' or len(got) >= min(asked, max(0, len(slot.old) - at))
