"""System calls that Python's os does not have, or not with all their options."""
import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.getxattr.restype = libc.listxattr.restype = libc.getdents64.restype = ctypes.c_ssize_t

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, AT_EACCESS = -100, 0x100, 0x400, 0x1000, 0x200
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE = 1, 2, 8, 16, 32
F_OFD_GETLK, F_OFD_SETLK = 36, 37
PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MREMAP_MAYMOVE, MS_SYNC = 1, 2, 1, 2, 1, 4
SYS_FACCESSAT2 = 439
STATX_ALL = 0xFFF
CAPABILITY_VERSION_3 = 0x20080522


def checked(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old, new, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def linkat(fd, old, new, flags):
    checked(libc.linkat(fd, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)))


def syncfs(fd):
    checked(libc.syncfs(fd))


def access(path, mode, flags):
    """faccessat2(2); glibc's faccessat answers some of its flags by itself."""
    checked(libc.syscall(SYS_FACCESSAT2, AT_FDCWD, os.fsencode(path), mode, flags))


def getxattr_into(path, name, size):
    """getxattr(2) with a buffer of that size; 0 asks for the length. @returns length and value"""
    buffer = ctypes.create_string_buffer(max(size, 1))
    length = checked(libc.getxattr(os.fsencode(path), name.encode(), buffer, ctypes.c_size_t(size)))
    return length, buffer.raw[:length if size else 0]


def listxattr_into(path, size):
    buffer = ctypes.create_string_buffer(max(size, 1))
    return checked(libc.listxattr(os.fsencode(path), buffer, ctypes.c_size_t(size)))


def statx(fd, path, flags):
    """@returns (mask, attributes, nlink, uid, gid, mode, ino, size), then (atime, btime, ctime, mtime) in ns"""
    buffer = ctypes.create_string_buffer(256)
    checked(libc.statx(fd, os.fsencode(path), flags, STATX_ALL, buffer))
    mask, _blksize, attributes, nlink, uid, gid, mode, ino, size = struct.unpack_from('<IIQIIIHxxQQ', buffer.raw)
    times = [s * 10**9 + ns for s, ns in (struct.unpack_from('<qI', buffer.raw, at) for at in (64, 80, 96, 112))]
    return (mask, attributes, nlink, uid, gid, mode, ino, size), times


def getdents(fd, size):
    """@returns (name, inode, offset of what follows) of each entry that fits into `size` bytes"""
    buffer = ctypes.create_string_buffer(size)
    length = checked(libc.getdents64(fd, buffer, ctypes.c_size_t(size)))
    entries, at, raw = [], 0, buffer.raw
    while at < length:
        inode, offset, record = struct.unpack_from('<QqH', raw, at)
        entries.append((raw[at + 19:at + record].split(b'\0', 1)[0], inode, offset))
        at += record
    return entries


def map_file(fd, length, protection, flags, offset=0):
    address = libc.mmap(None, ctypes.c_size_t(length), protection, flags, fd, ctypes.c_long(offset))
    if address is None or address == ctypes.c_void_p(-1).value:
        checked(-1)
    return address


def unmap(address, length):
    checked(libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length)))


def remap(address, old, new):
    moved = libc.mremap(ctypes.c_void_p(address), ctypes.c_size_t(old), ctypes.c_size_t(new), MREMAP_MAYMOVE)
    if moved is None or moved == ctypes.c_void_p(-1).value:
        checked(-1)
    return moved


def msync(address, length):
    checked(libc.msync(ctypes.c_void_p(address), ctypes.c_size_t(length), MS_SYNC))


def permitted_capabilities():
    with open('/proc/self/status') as f:
        return int(next(line for line in f if line.startswith('CapPrm:')).split()[1], 16)


def set_effective(effective, permitted):
    header = struct.pack('<Ii', CAPABILITY_VERSION_3, 0)
    low, high = 0xFFFFFFFF, 32
    data = struct.pack('<IIIIII', effective & low, permitted & low, 0, effective >> high, permitted >> high, 0)
    checked(libc.capset(header, data))


UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimensat(path, atime, mtime, flags):
    """Each time is (seconds, nanoseconds)."""
    checked(libc.utimensat(AT_FDCWD, os.fsencode(path), struct.pack('<qqqq', *atime, *mtime), flags))


PR_SET_PDEATHSIG = 1


def die_with_parent(signal):
    checked(libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))


CLONE_NEWNS, MS_REC, MS_SLAVE = 0x20000, 0x4000, 0x80000


MNT_DETACH = 2


def enter_mount_namespace():
    """Mounts from here on are seen by this process and its children alone; what is unmounted outside goes here, too."""
    checked(libc.unshare(CLONE_NEWNS))
    checked(libc.mount(None, b'/', None, ctypes.c_ulong(MS_REC | MS_SLAVE), None))
    # Where the host's mounts are private, nothing goes: roots that others have mounted would live as long as we do.
    with open('/proc/self/mounts', 'rb') as f:
        mounts = [line.split() for line in f]
    for _source, place, kind, *_rest in reversed(mounts):
        if kind == b'fuse.templatefs':
            libc.umount2(place.replace(b'\\040', b' '), MNT_DETACH)
