#!/usr/bin/env python3
"""Reserves and zeroes ranges of a file, and says of each whether the content is what it has to be.

    reserve_space.py FILE HOST_FILE

Before each look the pages of FILE, and of the host's file behind it, leave the page cache, and FILE is read from its start as
the host reads ahead best.
"""
import ctypes
import os
import sys

path, host = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
ZERO_RANGE = 16
PIECE = 65536


def reserve(mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), 'fallocate')


def write(offset, length):
    data = os.urandom(length)
    os.pwrite(fd, data, offset)
    wanted[offset:offset + length] = data


def look():
    os.fsync(fd)
    for name in (path, host):
        other = os.open(name, os.O_RDONLY)
        os.fsync(other)
        os.posix_fadvise(other, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(other)
    for _ in range(2):
        found = b''.join(os.pread(fd, PIECE, at) for at in range(0, len(wanted) + PIECE, PIECE))
    different = [at for at in range(0, max(len(found), len(wanted)), 512) if found[at:at + 512] != wanted[at:at + 512]]
    print('same' if not different else f'{len(found)} bytes, wanted {len(wanted)}; different from {different[0]} in {len(different)} places')


with open(path, 'rb') as f:
    wanted = bytearray(f.read())
size = len(wanted)
fd = os.open(path, os.O_RDWR)
# Inside of the file, behind blocks that are its own.
write(0, 1 << 19)
reserve(0, 1 << 19, 1 << 19)
look()
# From the middle of a block behind the object's end: what comes before in it is the object's.
os.ftruncate(fd, size - 100)
del wanted[size - 100:]
write(size - 300_000, 290_000)
reserve(0, size - 50, 100_000)
wanted += bytes(100_050)
look()
# Zeros from the middle of a block to the end.
write(1 << 20, 250_000)
start = (1 << 20) + 262_144 + 2000
reserve(ZERO_RANGE, start, len(wanted) - start)
wanted[start:] = bytes(len(wanted) - start)
look()
