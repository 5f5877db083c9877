#!/usr/bin/env python3
"""Does system calls for a test, in a process of its own, with descriptors that stay open.

One JSON request a line on stdin, {"call": NAME, "args": [...], "kw": {...}}; one JSON reply a line on stdout,
{"value": ...} or {"errno": NAME}. NAME is a function below, else one of Python's os. {"hex": ...} stands for bytes, and
bytes in a reply are hex.
"""
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
maps = {}


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class Calls:
    @staticmethod
    def renameat2(old, new, flags):
        return checked(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))

    @staticmethod
    def fallocate(fd, mode, offset, length):
        return checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))

    @staticmethod
    def fill(path, piece):
        """Appends until an error comes: its name."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(fd, b'x' * piece)
        except OSError as error:
            return errno.errorcode[error.errno]
        finally:
            os.close(fd)

    @staticmethod
    def linkfd(fd, path):
        return checked(libc.linkat(-100, os.fsencode(f'/proc/self/fd/{fd}'), -100, os.fsencode(path), 0x400))

    @staticmethod
    def handle(path):
        """name_to_handle_at(2): a struct file_handle."""
        found = ctypes.create_string_buffer(struct.pack('iI', 128, 0), 8 + 128)
        mount = ctypes.c_int()
        checked(libc.name_to_handle_at(-100, os.fsencode(path), found, ctypes.byref(mount), 0))
        return found.raw[:8 + struct.unpack_from('i', found.raw)[0]]

    @staticmethod
    def openhandle(path, handle, flags):
        """open_by_handle_at(2), on the file system of `path`."""
        folder = os.open(path, os.O_RDONLY)
        try:
            return checked(libc.open_by_handle_at(folder, handle, flags))
        finally:
            os.close(folder)

    @staticmethod
    def makedev(major, minor):
        return os.makedev(major, minor)

    @staticmethod
    def flock(fd, how):
        fcntl.flock(fd, how)

    @staticmethod
    def lockf(fd, how):
        fcntl.lockf(fd, how)

    @staticmethod
    def map(fd, length, writable):
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        number = len(maps)
        maps[number] = mmap.mmap(fd, length, mmap.MAP_SHARED, prot)
        return number

    @staticmethod
    def mapread(number, offset, length):
        return bytes(maps[number][offset:offset + length])

    @staticmethod
    def mapwrite(number, offset, data):
        maps[number][offset:offset + len(data)] = data
        maps[number].flush()

    @staticmethod
    def rawmap(fd, length, prot, flags):
        """mmap(2) as C programs do it: Python's own keeps a copy of the descriptor open as long as the mapping is."""
        libc.mmap.restype = ctypes.c_void_p
        address = libc.mmap(None, ctypes.c_size_t(length), prot, flags, fd, ctypes.c_long(0))
        checked(-1 if address == ctypes.c_void_p(-1).value else 0)
        return address

    @staticmethod
    def rawstore(address, data):
        ctypes.memmove(ctypes.c_void_p(address), data, len(data))

    @staticmethod
    def rawsync(address, length):
        checked(libc.msync(ctypes.c_void_p(address), ctypes.c_size_t(length), 4))

    @staticmethod
    def rawunmap(address, length):
        checked(libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length)))

    @staticmethod
    def ioctl(fd, number, data):
        return fcntl.ioctl(fd, number, data)

    @staticmethod
    def digest(path):
        with open(path, 'rb') as f:
            return hashlib.file_digest(f, 'sha256').hexdigest()

    @staticmethod
    def entries(path):
        with os.scandir(path) as found:
            return sorted([e.name, e.inode(), e.is_dir(follow_symlinks=False)] for e in found)

    @staticmethod
    def become(uid, gid):
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    @staticmethod
    def cached(fd):
        """Bytes of the page cache of this descriptor's own file: cachestat(2)."""
        class Range(ctypes.Structure):
            _fields_ = [('offset', ctypes.c_uint64), ('length', ctypes.c_uint64)]

        class Stat(ctypes.Structure):
            _fields_ = [(name, ctypes.c_uint64) for name in ('cache', 'dirty', 'writeback', 'evicted', 'recently')]
        found = Stat()
        checked(libc.syscall(451, fd, ctypes.byref(Range(0, 0)), ctypes.byref(found), 0))
        return found.cache * mmap.PAGESIZE

    @staticmethod
    def evict(path):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    @staticmethod
    def readall(fd):
        at = 0
        while True:
            piece = os.pread(fd, 1 << 20, at)
            if not piece:
                return at
            at += len(piece)


def decode(value):
    if isinstance(value, dict):
        return bytes.fromhex(value['hex'])
    return tuple(value) if isinstance(value, list) else value


def encode(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.stat_result):
        return {name[3:]: getattr(value, name) for name in dir(value) if name.startswith('st_') and not name.endswith('_ns')} | {'mtimeNs': str(value.st_mtime_ns), 'ctimeNs': str(value.st_ctime_ns)}
    if isinstance(value, os.statvfs_result):
        return {name[2:]: getattr(value, name) for name in dir(value) if name.startswith('f_')}
    return value


for line in sys.stdin:
    request = json.loads(line)
    function = getattr(Calls, request['call'], None) or getattr(os, request['call'])
    try:
        value = function(*map(decode, request['args']), **{key: decode(value) for key, value in request['kw'].items()})
        reply = {'value': encode(value)}
    except OSError as error:
        reply = {'errno': errno.errorcode.get(error.errno, str(error))}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reply = {'mistake': repr(error)}
    print(json.dumps(reply), flush=True)
