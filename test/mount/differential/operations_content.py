"""Operations on the content of files."""
import errno
import mmap
import os
import random
import stat

import syscalls
from draw import choose
from side import operation

NOISE = random.Random(3).randbytes(1 << 20)
PAGE = 4096


def data(op):
    size = choose(op, 0, [1, 10, 1000, 4096, 5000, 40000, 5, 8192])
    at = (op['n'] >> 20) % (len(NOISE) - size)
    return NOISE[at:at + size]


def offset(op, size=0):
    """Mostly small; in large files anywhere, often around the edges of pages and of larger blocks."""
    if size > 300_000:
        edge = choose(op, 8, [PAGE, 65536, 131072, 1 << 20])
        near = choose(op, 11, [0, -1, 1, -7, 13, 2048])
        return max(0, op['n'] // edge % (size // edge + 2) * edge + near)
    return choose(op, 4, [0, 1, 4095, 4096, op['n'] % 80000, op['n'] % 80000, op['n'] % 9000, 8192])


def open_regular(path, flags):
    fd = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EMEDIUMTYPE, 'no regular file')


@operation('content')
def read(side, op):
    slot = side.slot(op)
    at = offset(op, os.fstat(slot.fd).st_size)
    size = choose(op, 30, [100, 5000, 70000])
    return 'read', at, os.pread(slot.fd, size, at)


@operation('content')
def write(side, op):
    return os.pwrite(side.fd(op), data(op), offset(op, os.fstat(side.fd(op)).st_size))


@operation('content')
def append(_side, op):
    fd = open_regular(op['path'], os.O_WRONLY | os.O_APPEND)
    try:
        return os.write(fd, data(op)), os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)


def new_size(op, old):
    if old > 300_000:
        return choose(op, 0, [0, old - 1, old // 2, old + 1, old + 70000 if old < 4 << 20 else 5, (1 << 20) + 1, 65536, offset(op, old)])
    return choose(op, 0, [0, 10, 5000, 100000, 4096, 4097, old + 1, max(0, old - 1)])


@operation('content')
def ftruncate(side, op):
    os.ftruncate(side.fd(op), new_size(op, os.fstat(side.fd(op)).st_size))


@operation('content')
def truncate(_side, op):
    os.truncate(op['path'], new_size(op, os.stat(op['path']).st_size))


@operation('content')
def fallocate(side, op):
    keep = syscalls.FALLOC_KEEP_SIZE
    mode = choose(op, 0, [0, keep, keep | syscalls.FALLOC_PUNCH_HOLE, syscalls.FALLOC_ZERO_RANGE, keep | syscalls.FALLOC_ZERO_RANGE, syscalls.FALLOC_PUNCH_HOLE])
    length = choose(op, 16, [10000, 1, 4096, 65536, 0, 5000])
    syscalls.fallocate(side.fd(op), mode, offset(op, os.fstat(side.fd(op)).st_size), length)


@operation()
def shiftrange(side, op):
    """Collapsing and inserting: see differences.py."""
    mode = choose(op, 0, [syscalls.FALLOC_COLLAPSE_RANGE, syscalls.FALLOC_INSERT_RANGE])
    if not side.slot(op).writable:
        raise OSError(errno.EBADF, 'not open for writing')
    if not stat.S_ISREG(os.fstat(side.fd(op)).st_mode):
        return 'no regular file'
    if side.is_root:
        syscalls.fallocate(side.fd(op), mode, 0, PAGE)
    else:
        raise OSError(errno.EOPNOTSUPP, 'what the kernel answers for FUSE')


@operation()
def holes(side, op):
    """Where the holes are is the file system's affair; that they read as zeros, and what is an error, is not."""
    fd = side.fd(op)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return 'no regular file'
    size, at, wrong = os.fstat(fd).st_size, 0, []
    try:
        while at < size:
            try:
                begin = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                begin = size
            if begin < at:
                wrong.append(f'data at {begin}, before {at}')
                break
            if any(os.pread(fd, min(begin - at, 1 << 20), at)):
                wrong.append(f'the hole from {at} to {begin} is not zero')
            at = os.lseek(fd, begin, os.SEEK_HOLE) if begin < size else size
            if at <= begin < size:
                wrong.append(f'no data at {begin}')
                break
        ends = []
        for where, whence in ((size, os.SEEK_DATA), (size, os.SEEK_HOLE), (-1, os.SEEK_HOLE), (max(0, size - 1), os.SEEK_HOLE)):
            try:
                ends.append(os.lseek(fd, where, whence) >= 0)
            except OSError as e:
                ends.append(e.errno)
        return ('end', size if side.slot(op).old is None else 0, wrong, ends if side.slot(op).old is None else 0)
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


@operation('content')
def copyrange(side, op):
    source = open_regular(op['path'], os.O_RDONLY)
    try:
        size = os.fstat(source).st_size
        at, to, length = offset(op, size), op['n'] % 60000 if op['n'] & 1 else 4096, choose(op, 0, [3000, 1, 70000, 4096])
        copied = os.copy_file_range(source, side.fd(op), length, at, to)
        # A file system that shares blocks may stop at the last whole one.
        while 0 < copied < min(length, size - at):
            copied += os.copy_file_range(source, side.fd(op), length - copied, at + copied, to + copied)
        return copied
    finally:
        os.close(source)


@operation('content')
def sendfile(side, op):
    source = open_regular(op['path'], os.O_RDONLY)
    try:
        return os.sendfile(side.fd(op), source, op['n'] % 5000, choose(op, 0, [3000, 1, 70000]))
    finally:
        os.close(source)


@operation('content')
def splice(side, op):
    source = open_regular(op['path'], os.O_RDONLY)
    reader, writer = os.pipe()
    try:
        moved = os.splice(source, writer, choose(op, 0, [3000, 1, 20000]), offset_src=op['n'] % 5000)
        out = os.splice(reader, side.fd(op), moved, offset_dst=op['n'] % 30000) if moved else 0
        return moved, out
    finally:
        for fd in (source, reader, writer):
            os.close(fd)


@operation('content')
def direct(_side, op):
    fd = open_regular(op['path'], os.O_RDWR | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, 4 * PAGE)  # aligned as O_DIRECT wants it
        at = op['n'] % 20 * PAGE
        buffer[:] = NOISE[:4 * PAGE]
        written = os.pwrite(fd, memoryview(buffer)[:choose(op, 5, [PAGE, 4 * PAGE])], at)
        got = os.preadv(fd, [buffer], choose(op, 7, [0, at]))
        return written, buffer[:got]
    finally:
        os.close(fd)


@operation('content')
def synced(_side, op):
    fd = open_regular(op['path'], os.O_WRONLY | choose(op, 0, [os.O_SYNC, os.O_DSYNC]))
    try:
        return os.pwrite(fd, data(op), offset(op))
    finally:
        os.close(fd)


@operation('content')
def hugeoffset(side, op):
    """Far beyond the end, then back: a whole file of that size could not be compared."""
    fd = side.fd(op)
    size, results = os.fstat(fd).st_size, []
    at = choose(op, 0, [1 << 33, 1 << 40, (1 << 44) - 8192, *([] if side.common else [(1 << 44) - 3, 1 << 45, (1 << 63) - 20])])  # ext4 ends at 16 TiB
    for step in (lambda: os.pwrite(fd, b'far away', at), lambda: os.fstat(fd).st_size, lambda: os.pread(fd, 20, at - 4), lambda: os.ftruncate(fd, at)):
        try:
            results.append(step())
        except OSError as e:
            results.append(errno.errorcode.get(e.errno, e.errno))
    os.ftruncate(fd, size)
    return results


@operation()
def fsync(side, op):
    choose(op, 0, [os.fsync, os.fdatasync, syscalls.syncfs])(side.fd(op))
