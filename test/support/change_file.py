#!/usr/bin/env python3
"""Changes one large file at random, by a seed, and prints a digest of everything that was seen on the way.

    change_file.py FILE SEED STEPS

The same seed on two files of equal content must print the same, whatever file systems they lie on.
"""
import ctypes
import hashlib
import mmap
import os
import random
import sys

path, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, ZERO_RANGE, KEEP_SIZE = 2, 16, 1
rng = random.Random(seed)
seen = hashlib.sha256()


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), 'fallocate')


def holes_are_zero(fd, size):
    """Where data and holes lie is each file system's own matter; that holes are zeros is not."""
    at = 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            data = size
        hole = os.pread(fd, min(data - at, 1 << 20), at)
        assert not hole.strip(b'\0'), f'a hole at {at} is not empty'
        at = size if data >= size else os.lseek(fd, data, os.SEEK_HOLE)
        assert at > data or data >= size


fd = os.open(path, os.O_RDWR)
for step in range(steps):
    size = os.fstat(fd).st_size
    at = rng.randrange(size + 10000)
    length = rng.choice([1, 100, 4096, 5000, 70000, 300000])
    what = rng.choice(['write'] * 5 + ['truncate', 'punch', 'zero', 'reserve', 'map', 'read', 'read', 'copy', 'sync', 'reopen', 'holes'])
    if what == 'write':
        seen.update(str(os.pwrite(fd, rng.randbytes(length), at)).encode())
    elif what == 'truncate' and rng.random() < 0.5:
        os.ftruncate(fd, max(0, size + rng.randrange(-300000, 300000)))
    elif what == 'punch':
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, at, length)
    elif what == 'zero':
        fallocate(fd, ZERO_RANGE | rng.choice([0, KEEP_SIZE]), at, length)
    elif what == 'reserve':
        fallocate(fd, rng.choice([0, KEEP_SIZE]), at, length)
    elif what == 'map' and size > 10000:
        with mmap.mmap(fd, size) as mapped:
            place = rng.randrange(size - 9000)
            seen.update(mapped[place:place + 9000])
            mapped[place:place + 5000] = rng.randbytes(5000)
            if rng.random() < 0.5:
                mapped.flush()
    elif what == 'read':
        seen.update(os.pread(fd, length, at))
    elif what == 'copy' and size > 10000:
        seen.update(str(os.copy_file_range(fd, fd, 5000, rng.randrange(size // 2), rng.randrange(size // 2 + 5001, size + 5002))).encode())
    elif what == 'sync':
        os.fsync(fd)
    elif what == 'reopen':
        os.close(fd)
        fd = os.open(path, os.O_RDWR)
    elif what == 'holes':
        holes_are_zero(fd, size)
    seen.update(str(os.fstat(fd).st_size).encode())
os.lseek(fd, 0, os.SEEK_SET)
while piece := os.read(fd, 1 << 20):
    seen.update(piece)
print(seen.hexdigest())
