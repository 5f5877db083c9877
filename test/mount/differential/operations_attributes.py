"""Operations on modes, owners, times, extended attributes and ACLs."""
import errno
import os
import stat

import syscalls
from draw import choose
from operations_content import NOISE
from side import operation
from template import CAPABILITY

MODES = [0o644, 0o4755, 0o2755, 0o777, 0o600, 0o1777, 0o6777, 0o2745, 0]
XATTRS = ['user.one', 'user.note', 'trusted.two', 'security.three', 'user.one', 'user.note', 'user.' + 'x' * 250, 'user.' + 'x' * 251, 'unknown.x', 'user.', 'system.posix_acl_access',
          'system.posix_acl_default', 'security.capability']
SET_XATTRS = XATTRS[:10]
DAY = 86400
TIMES = [(1, 5), (-1, 999_999_999), (-(1 << 31), 1), (-(1 << 31) - DAY, 7), (1 << 31, 3), ((1 << 32) + 5, 4), (15_032_385_535, 2), (15_032_385_536 + DAY, 1),
         (0, syscalls.UTIME_NOW), (0, syscalls.UTIME_OMIT), (1_000_000_123, 456_789_012), (5, 10**9)]

COMMON_TIMES = [(seconds, nanoseconds) for seconds, nanoseconds in TIMES if -(1 << 31) < seconds < 15_032_385_535]  # ends at neither limit of ext4
XATTR_SIZES = [0, 1, 30, 200, 200, 100, 60, 7, 5000, 65536, 65537]
COMMON_XATTR_SIZES = [0, 1, 30, 200, 200, 100, 60, 7, 65537]  # ext4 keeps one block of them


@operation('attributes')
def chmod(_side, op):
    os.chmod(op['path'], choose(op, 0, MODES))


@operation('attributes')
def fchmod(side, op):
    os.fchmod(side.fd(op), choose(op, 0, MODES))


def owners(op):
    return choose(op, 0, [0, 1000, -1, -1, 1001]), choose(op, 5, [0, 1001, -1, 1000])


@operation('attributes')
def chown(_side, op):
    _chown(op['path'], owners(op), follow_symlinks=op['n'] % 7 == 0)


@operation('attributes')
def fchown(side, op):
    _chown(side.fd(op), owners(op))


def _chown(what, owner, **options):
    if owner == (-1, -1) and _has_privileges(what):
        raise OSError(errno.ENODATA, 'left out')  # see differences.py
    os.chown(what, *owner, **options)


def _has_privileges(what):
    try:
        return os.stat(what).st_mode & 0o6000 or bool(os.getxattr(what, 'security.capability'))
    except OSError:
        return False


def named_by(side, op):
    """The descriptor; a folder or pipe that was removed is left out: see differences.py."""
    fd = side.fd(op)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
        raise OSError(errno.ENOENT, 'left out')
    return fd


@operation('attributes')
def utime(side, op):
    times = COMMON_TIMES if side.common else TIMES
    atime, mtime = choose(op, 0, times), choose(op, 7, times)
    syscalls.utimensat(op['path'], atime, mtime, choose(op, 13, [0, syscalls.AT_SYMLINK_NOFOLLOW]))
    status = os.stat(op['path'], follow_symlinks=choose(op, 13, [True, False]))
    return status.st_atime_ns if atime[1] < syscalls.UTIME_OMIT else None, status.st_mtime_ns if mtime[1] < syscalls.UTIME_OMIT else None


def xattr_value(side, op):
    size = choose(op, 8, COMMON_XATTR_SIZES if side.common else XATTR_SIZES)
    return NOISE[op['n'] % 1000:][:size]


@operation('attributes')
def setxattr(side, op):
    flags = choose(op, 3, [0, 0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
    os.setxattr(op['path'], choose(op, 0, SET_XATTRS), xattr_value(side, op), flags, follow_symlinks=bool(op['n'] & 1))


@operation('attributes')
def fsetxattr(side, op):
    os.setxattr(named_by(side, op), choose(op, 0, SET_XATTRS), xattr_value(side, op))


@operation()
def getxattr(_side, op):
    name, size = choose(op, 0, XATTRS), choose(op, 5, [0, 1, 100, 65536])
    return syscalls.getxattr_into(op['path'], name, size)


@operation()
def listxattr(side, op):
    names = sorted(os.listxattr(named_by(side, op) if op['n'] & 1 else op['path']))
    return names, syscalls.listxattr_into(op['path'], choose(op, 5, [0, 10, 1000])) if op['n'] & 2 else 0


@operation('attributes')
def removexattr(_side, op):
    os.removexattr(op['path'], choose(op, 0, XATTRS), follow_symlinks=bool(op['n'] & 1))


def acl(op):
    """With a mask and entries of users, or a minimal one, or a broken one."""
    named = [(2, choose(op, 4, [4, 7, 0]), 1000), (4, 4, -1), (8, choose(op, 6, [5, 7]), 1001), (16, choose(op, 8, [7, 5, 0]), -1)]
    entries = [(1, choose(op, 2, [6, 7]), -1), *choose(op, 10, [named, [(4, 5, -1)], named, [(2, 7, 1000), (4, 4, -1)]]), (32, op['n'] % 8, -1)]
    return b'\2\0\0\0' + b''.join(t.to_bytes(2, 'little') + p.to_bytes(2, 'little') + (i & 0xFFFFFFFF).to_bytes(4, 'little') for t, p, i in entries)


@operation('attributes')
def setacl(_side, op):
    os.setxattr(op['path'], choose(op, 0, ['system.posix_acl_access', 'system.posix_acl_default']), acl(op))


@operation('attributes')
def setcap(_side, op):
    os.setxattr(op['path'], 'security.capability', CAPABILITY)


@operation('content')
def privileged(_side, op):
    """A set-id file with capabilities, and what a change does to both."""
    results = []
    change = choose(op, 0, [_write_to, lambda p: os.truncate(p, 7), lambda p: _chown(p, (-1, -1)), lambda p: os.chown(p, 1000, 1001), _allocate_in,
                            lambda p: os.chmod(p, 0o6777), lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))])
    if not stat.S_ISREG(os.stat(op['path']).st_mode):
        return 'no regular file'
    for step in (lambda p: os.chmod(p, 0o6757 if op['n'] & 1 else 0o2745), lambda p: os.setxattr(p, 'security.capability', CAPABILITY), change,
                 lambda p: oct(os.stat(p).st_mode), lambda p: os.getxattr(p, 'security.capability')):
        try:
            results.append(step(op['path']))
        except OSError as e:
            results.append(errno.errorcode.get(e.errno, e.errno))
    return results


def _write_to(path):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, b'!', 3)
    finally:
        os.close(fd)


def _allocate_in(path):
    fd = os.open(path, os.O_WRONLY)
    try:
        syscalls.fallocate(fd, 0, 0, 100)
    finally:
        os.close(fd)
