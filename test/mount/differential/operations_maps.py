"""Operations on mapped files."""
import ctypes
import os
import stat

import syscalls
from draw import choose
from operations_content import NOISE, PAGE
from side import Map, operation


@operation()
def map_(side, op):
    slot = side.slot(op)
    status = os.fstat(slot.fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return 'nothing to map'
    length = min(status.st_size, choose(op, 3, [100, 9000, 3_000_000]))
    protection = syscalls.PROT_READ | (syscalls.PROT_WRITE if slot.writable else 0)
    address = syscalls.map_file(slot.fd, length, protection, syscalls.MAP_SHARED, 0)
    side.drop_map(op['slot'])
    side.maps[op['slot']] = Map(address, length, os.dup(slot.fd), slot.writable, slot.old)
    return length if slot.old is None else None


@operation()
def mapread(side, op):
    mapped = side.map(op)
    end = mapped.end()
    at = op['n'] % max(1, end)
    return 'mapread', at, ctypes.string_at(mapped.address + at, min(choose(op, 9, [10, 5000]), max(0, end - at)))


@operation('content')
def mapwrite(side, op):
    mapped = side.map(op)
    end = mapped.end()
    if not mapped.writable or end == 0:
        return 'read only'
    at = op['n'] % end
    piece = NOISE[at % 9999:][:min(choose(op, 9, [5, 4000]), end - at)]
    ctypes.memmove(mapped.address + at, piece, len(piece))
    seen = os.pread(mapped.fd, len(piece), at) == piece
    syscalls.msync(mapped.address, mapped.length)  # see differences.py
    if side.common:
        os.pwrite(mapped.fd, piece[:1], at)  # on tmpfs stores do not change mtime
    return len(piece), seen


@operation()
def remap(side, op):
    mapped = side.map(op)
    new = max(1, choose(op, 0, [mapped.length * 2, mapped.length // 2, mapped.length + PAGE])) % (8 << 20)
    mapped.address = syscalls.remap(mapped.address, mapped.length, new)
    mapped.length = new


@operation('content')
def mapsync(side, op):
    mapped = side.map(op)
    syscalls.msync(mapped.address, mapped.length)


@operation()
def unmap(side, op):
    side.map(op)
    side.drop_map(op['slot'])


@operation('content')
def mapprivate(side, op):
    """Stores into a private map are seen in it, and nowhere else."""
    slot = side.slot(op)
    size = os.fstat(slot.fd).st_size if slot.old is None else min(len(slot.old), os.fstat(slot.fd).st_size)
    if size == 0 or not stat.S_ISREG(os.fstat(slot.fd).st_mode):
        return 'nothing to map'
    length = min(size, 10000)
    address = syscalls.map_file(slot.fd, length, syscalls.PROT_READ | syscalls.PROT_WRITE, syscalls.MAP_PRIVATE)
    try:
        ctypes.memmove(address, b'x', 1)
        return 'mapread', 1, ctypes.string_at(address + 1, length - 1), ctypes.string_at(address, 1)
    finally:
        syscalls.unmap(address, length)
