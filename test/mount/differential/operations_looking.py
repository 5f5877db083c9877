"""Operations that look: status, folders, permissions, and folders that change while they are read."""
import os
import time

import syscalls
from compare import show
from draw import choose
from side import operation


ATTR_MOUNT_ROOT = 0x2000  # true of the one, not of the other
CLOCK_SKEW_NS = 10**14  # somebody may set the clock meanwhile


@operation()
def stat(_side, op):
    return show(os.stat(op['path'], follow_symlinks=bool(op['n'] & 1)))


@operation()
def fstat(side, op):
    return show(os.fstat(side.fd(op)))


@operation()
def statx(side, op):
    if op['n'] & 1:
        seen, times = syscalls.statx(side.fd(op), '', syscalls.AT_EMPTY_PATH)
    else:
        seen, times = syscalls.statx(syscalls.AT_FDCWD, op['path'], syscalls.AT_SYMLINK_NOFOLLOW)
    mask, attributes, nlink, uid, gid, mode, ino, size = seen
    _atime, btime, _ctime, _mtime = times
    problems = []
    if not mask & 0x800 or btime > time.time_ns() + CLOCK_SKEW_NS:
        problems.append('no btime, or a later one than now')
    # Roots never use an inode number twice; ext4 does.
    if side.is_root and side.born.setdefault(ino, btime) != btime:
        problems.append('the btime has changed')
    return problems, mask & 0x7FF, attributes & ~ATTR_MOUNT_ROOT, nlink, uid, gid, oct(mode), None if mode >> 12 == 4 else size


@operation()
def readlink(_side, op):
    return os.readlink(op['path'])


@operation()
def listdir(_side, op):
    return sorted(os.fsencode(name) for name in os.listdir(op['path']))


@operation()
def listopen(side, op):
    return sorted(os.fsencode(name) for name in os.listdir(side.fd(op)))


@operation()
def access(_side, op):
    syscalls.access(op['path'], choose(op, 0, [0, 1, 2, 4, 6, 7]), choose(op, 7, [0, syscalls.AT_EACCESS, syscalls.AT_SYMLINK_NOFOLLOW]))


@operation()
def opendir(side, op):
    path = op['path'] if op['n'] & 1 else os.path.dirname(op['path'])
    side.take(op, os.open(path or '.', os.O_RDONLY | os.O_DIRECTORY), False)


@operation('names')
def readchange(_side, op):
    """Names that were in a folder all the time are listed once, whatever else comes and goes; cookies lead back."""
    path = os.path.dirname(op['path']) or '.'
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    made = []

    def put(name):
        os.close(os.open(f'{path}/{name}', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        made.append(name)

    try:
        for i in range(choose(op, 0, [3, 12])):
            put(f'rd{i}')
        before = set(os.listdir(fd))
        os.lseek(fd, 0, os.SEEK_SET)
        size = choose(op, 3, [280, 400, 1000])
        seen = syscalls.getdents(fd, size)
        os.unlink(f'{path}/{made.pop(0)}')
        os.rename(f'{path}/{made[0]}', f'{path}/rdmoved')
        made[0] = 'rdmoved'
        put('rdlate')
        again = True  # how many entries fit is the file system's affair
        if len(seen) > 1:  # back to what followed the first entry
            os.lseek(fd, seen[0][2], os.SEEK_SET)
            again = syscalls.getdents(fd, size)
            gone = {b'rd0', b'rd1', b'rdmoved', b'rdlate'}
            wanted = [entry[:2] for entry in seen[1:] if entry[0] not in gone]
            found = [entry[:2] for entry in again if entry[0] not in gone]
            again = wanted[:len(found)] == found[:len(wanted)] or f'{[name for name, _ in wanted]} then {[name for name, _ in found]}'
            os.lseek(fd, seen[-1][2], os.SEEK_SET)
        while more := syscalls.getdents(fd, size):
            seen += more
        os.lseek(fd, 0, os.SEEK_SET)
        throughout = before & set(os.listdir(fd))
        names = [os.fsdecode(name) for name, _inode, _offset in seen if name not in (b'.', b'..')]
        wrong = sorted(name for name in throughout if names.count(name) != 1)
        return sorted(throughout), wrong, again
    finally:
        os.close(fd)
        for name in made:
            os.unlink(f'{path}/{name}')
