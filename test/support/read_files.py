#!/usr/bin/env python3
"""Reads files and says what they take of the page cache: read_files.py ROOT < NUL-separated paths below it

Prints two numbers: bytes that were read, and bytes of the page cache that belong to the files' own inodes as this root has them
(cachestat(2)). A root that shares has none of its own: what is cached belongs to the object.
"""
import ctypes
import mmap
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
CACHESTAT = 451


class Range(ctypes.Structure):
    _fields_ = [('offset', ctypes.c_uint64), ('length', ctypes.c_uint64)]


class Stat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ('cache', 'dirty', 'writeback', 'evicted', 'recently')]


def main():
    root = os.fsencode(sys.argv[1])
    size = own = 0
    for path in sys.stdin.buffer.read().split(b'\0'):
        if not path:
            continue
        fd = os.open(root + path, os.O_RDONLY | os.O_NOFOLLOW)
        while piece := os.read(fd, 1 << 20):
            size += len(piece)
        found = Stat()
        if libc.syscall(CACHESTAT, fd, ctypes.byref(Range(0, 0)), ctypes.byref(found), 0) != 0:
            raise OSError(ctypes.get_errno(), 'cachestat')
        own += found.cache * mmap.PAGESIZE
        os.close(fd)
    print(size, own)


main()
