"""Operations on names: what makes, links, moves and removes files."""
import errno
import fcntl
import os
import shutil
import stat

import syscalls
from draw import choose
from operations_content import data
from side import operation

MODES = [0o644, 0o666, 0o755, 0o4755, 0o2755, 0o600, 0o777]


@operation('names')
def create(side, op):
    flags = os.O_CREAT | os.O_RDWR | os.O_NONBLOCK | (os.O_EXCL if op['n'] & 8 else 0) | (os.O_APPEND if op['n'] & 16 else 0)
    fd = os.open(op['path'], flags, choose(op, 6, MODES))
    side.take(op, fd, True)
    return os.write(fd, data(op))


@operation()
def open_(side, op):
    flags = choose(op, 0, [os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDONLY, os.O_RDWR | os.O_APPEND])
    side.take(op, os.open(op['path'], flags | os.O_NONBLOCK), flags & os.O_ACCMODE == os.O_RDWR)


@operation('content')
def opentruncate(side, op):
    side.take(op, os.open(op['path'], os.O_RDWR | os.O_TRUNC | os.O_NONBLOCK), True)


@operation('names')
def openodd(side, op):
    flags = choose(op, 0, [os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_CREAT | os.O_EXCL, os.O_CREAT,
                           os.O_DIRECTORY | os.O_NOFOLLOW, os.O_DIRECTORY | os.O_RDWR, os.O_CREAT | os.O_NOFOLLOW, os.O_RDONLY | os.O_TRUNC])
    side.take(op, os.open(op['path'], flags | os.O_NONBLOCK, 0o640), False)


@operation()
def close(side, op):
    side.fd(op)
    side.drop(op['slot'])


@operation()
def reopen(side, op):
    flags = choose(op, 0, [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_TRUNC])
    fd = side.fd(op)
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH and os.fstat(fd).st_nlink == 0:
        return  # left out: see differences.py
    if side.slot(op).old is not None:
        flags &= ~os.O_TRUNC  # ESTALE is allowed on one side then: the other must not change
    side.take(op, os.open(f'/proc/self/fd/{side.fd(op)}', flags | os.O_NONBLOCK), flags & os.O_ACCMODE == os.O_RDWR)


@operation('names')
def mkdir(_side, op):
    os.mkdir(op['path'], choose(op, 0, [0o755, 0o777, 0o2755, 0o1777]))


@operation('names')
def rmdir(_side, op):
    os.rmdir(op['path'])


@operation('names')
def unlink(_side, op):
    os.unlink(op['path'])


@operation('names')
def rename(_side, op):
    os.rename(op['path'], op['other'])


@operation('names')
def movetree(_side, op):
    os.rename(op['path'], op['other'])


@operation('names')
def renameflags(side, op):
    noreplace, exchange, whiteout = syscalls.RENAME_NOREPLACE, syscalls.RENAME_EXCHANGE, syscalls.RENAME_WHITEOUT
    flags = choose(op, 0, [noreplace, exchange, exchange, exchange, whiteout, whiteout, whiteout | noreplace, whiteout | exchange, noreplace | exchange, 8])
    if flags & whiteout and (os.path.lexists(op['other']) or not side.zero_devices):
        raise OSError(errno.EEXIST, 'left out')  # see differences.py
    syscalls.renameat2(op['path'], op['other'], flags)


@operation('names')
def link(_side, op):
    _link(op['path'], op['other'])


@operation('names')
def linkfollow(_side, op):
    syscalls.linkat(syscalls.AT_FDCWD, op['path'], op['other'], syscalls.AT_SYMLINK_FOLLOW)


@operation('names')
def symlink(side, op):
    longest = 't/' * (511 if side.common else 2047)  # XFS keeps less than 1,024 bytes
    os.symlink(choose(op, 0, ['f0', 'new1', '..', '../a', 'new1/../f2', 't' * 255, 't' * (op['n'] % 300 + 1), longest, 't' * 4096, '/proc/self/none', 'deep']), op['path'])


@operation('names')
def mknod(side, op):
    kind = choose(op, 0, [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFDIR])
    device = choose(op, 3, [os.makedev(1, 5), os.makedev(511, 262_143) if side.common else os.makedev(4095, 1_048_575), 0]) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    if kind == stat.S_IFCHR and device == 0 and not side.zero_devices:
        return 'left out'
    os.mknod(op['path'], kind | choose(op, 6, MODES), device)


@operation('names')
def tmpfile(side, op):
    flags = os.O_TMPFILE | choose(op, 0, [os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_EXCL, os.O_RDONLY])
    fd = os.open(os.path.dirname(op['path']) or '.', flags, choose(op, 3, MODES))
    side.take(op, fd, flags & os.O_ACCMODE == os.O_RDWR)
    os.write(fd, data(op))


@operation('names')
def linkfd(side, op):
    if op['n'] & 1:
        syscalls.linkat(syscalls.AT_FDCWD, f'/proc/self/fd/{side.fd(op)}', op['other'], syscalls.AT_SYMLINK_FOLLOW)
    else:
        syscalls.linkat(side.fd(op), '', op['other'], syscalls.AT_EMPTY_PATH)


def _link(old, new):
    os.stat(old, follow_symlinks=False)  # see differences.py
    os.link(old, new, follow_symlinks=False)


@operation('names')
def replace(_side, op):
    """What package managers and editors do: a backup by a hard link, a new file, renamed over the old one."""
    backup, new = op['path'] + '~', op['path'] + '.new'
    done = []
    for step in (lambda: _link(op['path'], backup), lambda: _put(new, data(op)), lambda: os.rename(new, op['path']),
                 lambda: os.unlink(backup) if op['n'] & 1 else os.rename(backup, op['path'])):
        try:
            done.append(step())
        except OSError as e:
            done.append(errno.errorcode.get(e.errno, e.errno))
    for left in (backup, new):
        if os.path.lexists(left):
            os.unlink(left)
    return done


def _put(path, content):
    with open(path, 'xb') as f:
        f.write(content)


@operation('names')
def rmtree(_side, op):
    path = os.path.dirname(op['path']) or op['path']
    if path.count('/') < 1 or not stat.S_ISDIR(os.lstat(path).st_mode):
        return 'no folder'  # rmtree would open a fifo and wait
    failed = []
    shutil.rmtree(path, onerror=lambda _f, p, e: failed.append((os.fsencode(p), e[1].errno)))
    return sorted(failed)


@operation('names')
def deep(_side, op):
    """A chain of folders that no path reaches any more, made, walked and removed descriptor by descriptor."""
    results, fds, name = [], [os.open(os.path.dirname(op['path']) or '.', os.O_PATH)], 'd' * choose(op, 0, [200, 255])
    try:
        for _ in range(choose(op, 3, [3, 25])):
            os.mkdir(name, 0o777, dir_fd=fds[-1])
            fds.append(os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=fds[-1]))
        os.close(os.open('bottom', os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fds[-1]))
        results.append(os.fstat(fds[-1]).st_nlink)
        whole = os.path.join(os.path.dirname(op['path']), *[name] * (len(fds) - 1), 'bottom')
        results.append(os.lstat(whole).st_size)
    except OSError as e:
        results.append(errno.errorcode.get(e.errno, e.errno))
    try:
        os.unlink('bottom', dir_fd=fds[-1])
    except OSError as e:
        results.append(errno.errorcode.get(e.errno, e.errno))
    return _climb(fds, name, results)


def _climb(fds, name, results):
    """Removes what `deep` made, from the bottom up."""
    while len(fds) > 1:
        os.close(fds.pop())
        try:
            os.rmdir(name, dir_fd=fds[-1])
        except OSError as e:
            results.append(errno.errorcode.get(e.errno, e.errno))
    os.close(fds.pop())
    return results
