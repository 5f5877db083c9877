#!/usr/bin/env python3
"""What unions in user space often get wrong, one scenario at a time: union_pitfalls.py SCENARIO FOLDER [NUMBER]

FOLDER is usr/lib or data of what build_root.py makes, as a root shows it or on a plain file system. Prints what was seen
as one JSON object; on both it has to be the same. Nothing that legitimately differs (inode numbers, times themselves) is in it.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
scenario, base = sys.argv[1], sys.argv[2]
number = int(sys.argv[3]) if len(sys.argv) > 3 else 0
os.umask(0o022)


def outcome(call, *args, **kw):
    """What a call returns, or the name of its error."""
    try:
        return call(*args, **kw)
    except OSError as error:
        return errno.errorcode[error.errno]


def says(call, *args, **kw):
    """Only whether it works, or the name of its error."""
    result = outcome(call, *args, **kw)
    return result if isinstance(result, str) and result in errno.errorcode.values() else 'done'


def make(path, data=b''):
    with open(path, 'wb') as f:
        f.write(data)


def long_names():
    """Names and paths that are too long are ENAMETOOLONG, not ENOENT; the longest that are not work."""
    long, longest = 'n' * 256, 'm' * 255
    seen = {name: says(*call) for name, call in {
        'open': (os.open, long, os.O_RDONLY), 'create': (os.open, long, os.O_CREAT | os.O_WRONLY), 'stat': (os.lstat, long),
        'mkdir': (os.mkdir, long), 'mkfifo': (os.mkfifo, long), 'symlink': (os.symlink, 'x', long), 'link': (os.link, 'file', long),
        'rename': (os.rename, 'file', long), 'rename from': (os.rename, long, 'file'), 'unlink': (os.unlink, long),
        'rmdir': (os.rmdir, long), 'chmod': (os.chmod, long, 0), 'truncate': (os.truncate, long, 0),
        'in a missing folder': (os.stat, 'missing/' + long), 'path of 4096': (os.stat, './' * 2047 + 'xy'),
        'path of 4095': (os.stat, './' * 2047 + 'x'), 'target of 4095': (os.symlink, 't' * 4095, 'to-4095'),
        'target of 4096': (os.symlink, 't' * 4096, 'to-4096'), 'missing of 255': (os.stat, longest),
    }.items()}
    make(longest, b'longest')
    os.rename(longest, 'l' * 255)
    os.link('l' * 255, longest)
    seen['longest'] = [open(longest).read(), os.stat(longest).st_nlink, len(os.readlink('to-4095')), longest in os.listdir('.')]
    return seen


def hard_links():
    """Each name of a file shows what was done through another one, at once."""
    names = ['hard-a', 'hard-b', 'folder/hard-c']
    seen = {}

    def look(after):
        seen[after] = [[os.stat(n).st_nlink, oct(os.stat(n).st_mode), os.stat(n).st_size, os.stat(n).st_uid] for n in names]
        seen[after].append(len({os.stat(n).st_ino for n in names}))
        seen[after].append(len({os.stat(n).st_mtime_ns for n in names}) + len({os.stat(n).st_ctime_ns for n in names}))
        seen[after].append(len({open(n).read() for n in names}))

    look('before')
    os.link('hard-b', 'hard-d')
    names.append('hard-d')
    look('link')
    os.rename('hard-a', 'folder/hard-e')
    names[0] = 'folder/hard-e'
    look('rename')
    os.chmod('hard-b', 0o600)
    look('chmod')
    os.chown('hard-d', 7, 7)
    look('chown')
    with open('folder/hard-c', 'a') as f:
        f.write('more')
    look('write')
    os.truncate('hard-b', 5)
    look('truncate')
    os.utime('folder/hard-e', ns=(5, 5))
    look('utime')
    os.unlink('hard-b')
    names.remove('hard-b')
    look('unlink')
    os.rename('file', 'hard-d')
    names.remove('hard-d')
    look('one is replaced')
    make('new')
    os.link('new', 'new-2')
    os.rename('folder', 'moved')
    names = ['moved/hard-c', 'moved/hard-e']
    look('their folder is moved')
    return seen


def open_and_unlinked():
    """fstat of an open file that lost its last name: no links. A folder, too."""
    seen = {}
    make('new', b'new')
    for name in ('file', 'new', 'hard-a', 'many/entry-0001'):
        fd = os.open(name, os.O_RDWR)
        links = [os.fstat(fd).st_nlink]
        os.unlink(name)
        links.append(os.fstat(fd).st_nlink)
        seen[name] = [links, os.pread(fd, 4, 0).decode(), os.pwrite(fd, b'x', 0), os.fstat(fd).st_size, says(os.fchmod, fd, 0o600)]
    make('over')
    fd = os.open('other', os.O_RDONLY)
    os.rename('over', 'other')
    seen['replaced'] = os.fstat(fd).st_nlink
    fd = os.open('folder/deeper/deepest', os.O_RDONLY)
    os.unlink('folder/deeper/deepest/leaf')
    os.rmdir('folder/deeper/deepest')
    seen['folder'] = [os.fstat(fd).st_nlink, os.listdir(fd), says(os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd)]
    return seen


def acl(*entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', tag, perm, who & 0xffffffff) for tag, perm, who in entries)


DEFAULT_ACL = acl((1, 7, -1), (2, 6, 1000), (4, 5, -1), (16, 7, -1), (32, 0, -1))


def inheritance():
    """Set-group-id and default ACLs hold for whatever makes a name, also where the template had one before."""
    seen = {}
    for where in ('fresh', 'many'):
        for kind in ('set-group-id', 'default ACL', 'both'):
            top = where if where == 'many' else f'{where} {kind}'.replace(' ', '-')
            os.makedirs(top, exist_ok=True)
            if kind != 'default ACL':
                os.chown(top, -1, 42)
                os.chmod(top, 0o2775)
            else:
                os.chmod(top, 0o775)
            if kind != 'set-group-id':
                os.setxattr(top, 'system.posix_acl_default', DEFAULT_ACL)
            names = {call: f'{top}/{kind}-{call}' for call in ('open', 'mkdir', 'mkfifo', 'mknod', 'device', 'symlink', 'bind', 'O_TMPFILE')}
            if where == 'many':
                names = dict(zip(names, (f'{top}/entry-{i + len(seen) * 10:04}' for i in range(100, 200))))
                for name in names.values():
                    os.unlink(name)
            os.close(os.open(names['open'], os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o2777))
            os.mkdir(names['mkdir'], 0o777)
            os.mkfifo(names['mkfifo'], 0o777)
            os.mknod(names['mknod'], stat.S_IFREG | 0o777)
            os.mknod(names['device'], stat.S_IFCHR | 0o777, os.makedev(1, 3))
            os.symlink('x', names['symlink'])
            fd = os.open(top, os.O_TMPFILE | os.O_RDWR, 0o777)
            if libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100, names['O_TMPFILE'].encode(), 0x400) != 0:
                raise OSError(ctypes.get_errno(), 'linkat')
            os.close(fd)
            # A socket's path may have 107 bytes.
            back = os.open('.', os.O_RDONLY)
            os.chdir(top)
            socket.socket(socket.AF_UNIX).bind(os.path.basename(names['bind']))
            os.fchdir(back)
            os.mkdir(names['mkdir'] + '/below')
            names['below'] = names['mkdir'] + '/below'
            seen[f'{where} {kind}'] = {
                call: [oct(os.lstat(name).st_mode), os.lstat(name).st_gid,
                       {x: os.getxattr(name, x, follow_symlinks=False).hex() for x in sorted(os.listxattr(name, follow_symlinks=False))}]
                for call, name in names.items()}
    return seen


def symlinks_into_itself():
    """Nothing that is done to a symlink follows it: a daemon that did, into its own mount, would wait for itself."""
    seen = {}
    for name in ('new', 'symlink', 'dangling'):
        if name == 'new':
            os.symlink(os.path.join(base, 'other'), name)
        elif name == 'symlink':
            os.unlink(name)
            os.symlink(os.path.join(base, 'other'), name)
        seen[name] = [
            says(os.setxattr, name, 'trusted.x', b'1', follow_symlinks=False), outcome(os.listxattr, name, follow_symlinks=False),
            outcome(lambda: os.getxattr(name, 'trusted.x', follow_symlinks=False).decode()),
            says(os.removexattr, name, 'trusted.x', follow_symlinks=False), says(os.setxattr, name, 'user.x', b'1', follow_symlinks=False),
            says(os.lchown, name, 9, 9), says(os.utime, name, ns=(7, 7), follow_symlinks=False), os.lstat(name).st_uid, os.lstat(name).st_mtime_ns,
            says(os.link, name, name + '-2', follow_symlinks=False), says(os.open, name, os.O_RDONLY | os.O_NOFOLLOW)]
    other = os.stat('other')
    seen['target'] = [other.st_uid, other.st_nlink, os.listxattr('other'), other.st_mtime_ns != 7]
    return seen


class Iocb(ctypes.Structure):  # struct iocb of linux/aio_abi.h
    _fields_ = [('data', ctypes.c_uint64), ('key', ctypes.c_uint32), ('rw_flags', ctypes.c_uint32), ('opcode', ctypes.c_uint16),
                ('priority', ctypes.c_int16), ('fd', ctypes.c_uint32), ('buffer', ctypes.c_uint64), ('size', ctypes.c_uint64),
                ('offset', ctypes.c_int64), ('reserved', ctypes.c_uint64), ('flags', ctypes.c_uint32), ('event_fd', ctypes.c_uint32)]


def direct_io():
    """O_DIRECT and Linux's native AIO, on a file of the template and on a new one; old and new content are right."""
    seen = {}
    page = mmap.mmap(-1, 65536)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    context = ctypes.c_uint64()
    if libc.syscall(206, 64, ctypes.byref(context)) != 0:  # io_setup
        raise OSError(ctypes.get_errno(), 'io_setup')

    def aio(fd, opcode, offset):
        block = Iocb(opcode=opcode, fd=fd, buffer=address, size=65536, offset=offset)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(block))
        if libc.syscall(209, context, 1, pointers) != 1:  # io_submit
            return errno.errorcode[ctypes.get_errno()]
        event = (ctypes.c_int64 * 4)()
        libc.syscall(208, context, 1, 1, event, None)  # io_getevents
        return event[2]

    make('new', b'\0' * 131072)
    for name in ('size-1000003', 'new'):
        for flags in (0, os.O_DIRECT):
            fd = os.open(name, os.O_RDWR | flags)
            done = [aio(fd, 0, 65536)]
            page.seek(0)
            before = page.read(16).hex()
            page.seek(0)
            page.write(bytes([65 + flags % 7]) * 65536)
            done += [aio(fd, 1, 65536), says(os.fsync, fd)]
            os.close(fd)
            content = open(name, 'rb').read()
            seen[f'{name} {flags}'] = [done, before, len(content), sum(content) % 1_000_003, content[65535:65537].hex()]
    fd = os.open('size-65536', os.O_RDONLY | os.O_DIRECT)
    seen['read'] = [os.preadv(fd, [page], 0), sum(page[:]) % 1_000_003]
    return seen


def mappings():
    """What is stored through a shared mapping and synced is in the file, its size and times; a private one changes nothing."""
    seen = {}
    make('new', b'n' * 10000)
    for name in ('size-65536', 'size-1000003', 'hard-a', 'new'):
        os.utime(name, ns=(5, 5))
        with open(name, 'r+b') as f:
            m = mmap.mmap(f.fileno(), 0)
            p = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE)
            m[0:6] = b'stored'
            m.flush()
            p[0:7] = b'private'
            same = open(name, 'rb').read() == m[:]
            seen[name] = [same, os.fstat(f.fileno()).st_mtime_ns > 5, os.stat(name).st_mtime_ns > 5, len(m)]
            m.close()
        seen[name].append(open(name, 'rb').read(6).decode())
    return seen


def busy_then_removed():
    """After many processes' worth of makes, renames and removals at random, `rm -rf` leaves nothing behind."""
    errors = set()
    expected = {'ENOENT', 'EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EISDIR', 'EINVAL', 'ELOOP', 'EPERM'}

    def work(seed):
        rng = random.Random(seed)
        tops = ['many', 'folder', 'folder/deeper', 'folder/deeper/deepest', 'busy', 'busy/a']

        def some():
            return f'{rng.choice(tops)}/{rng.choice(["a", "b", "c", "deeper", "inner", "leaf", "entry-%04d" % rng.randrange(30)])}'

        for _ in range(number):
            call = rng.choice([
                lambda: os.close(os.open(some(), os.O_CREAT | os.O_RDWR)), lambda: os.mkdir(some()), lambda: os.unlink(some()),
                lambda: os.rmdir(some()), lambda: os.rename(some(), some()), lambda: os.link(some(), some()), lambda: os.symlink('x', some()),
                lambda: os.listdir(rng.choice(tops)), lambda: os.chmod(some(), 0o700)])
            result = says(call)
            if result != 'done' and result not in expected:
                errors.add(result)

    os.makedirs('busy/a')
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    removed = subprocess.run(['rm', '-rf', 'many', 'folder', 'busy'], capture_output=True, text=True)
    return {'errors': sorted(errors), 'rm': removed.stderr, 'left': [n for n in ('many', 'folder', 'busy') if os.path.lexists(n)]}


def ctimes():
    """ctime moves on with each change of an inode, mtime of a folder with each change of its names."""
    seen = {}
    make('new')
    os.mkdir('new-folder')
    os.symlink('x', 'new-symlink')
    for name in ('file', 'folder', 'symlink', 'hard-b', 'new', 'new-folder', 'new-symlink'):
        def ctime():
            return os.lstat(name).st_ctime_ns

        def moves(call, *args, **kw):
            before = ctime()
            # Host file systems stamp with the kernel's coarse clock.
            threading.Event().wait(0.02)
            call(*args, **kw)
            return ctime() > before

        def rename(to):
            nonlocal name
            os.rename(name, to)
            name = to

        first = name
        seen[first] = [moves(rename, name + '-2'), moves(rename, 'many/' + first), moves(os.lchown, name, 3, 3)]
        if not os.path.islink(name):
            seen[first].append(moves(os.chmod, name, 0o700))
        if not os.path.isdir(name):
            seen[first].append(moves(os.link, name, name + '-link', follow_symlinks=False))
    for call in (lambda: make('many/x'), lambda: os.unlink('many/entry-0001'), lambda: os.rename('many/x', 'many/y'), lambda: os.mkdir('many/z')):
        os.utime('many', ns=(5, 5))
        call()
        seen.setdefault('mtime of the folder', []).append(os.stat('many').st_mtime_ns > 5)
    return seen


def removed_at_once():
    """rm -rf of very many entries."""
    made = number
    os.mkdir('crowd')
    for i in range(made):
        os.close(os.open(f'crowd/{i}', os.O_CREAT | os.O_WRONLY))
    listed = len(os.listdir('crowd'))
    removed = subprocess.run(['rm', '-rf', 'crowd', 'crowded'], capture_output=True, text=True)
    return {'listed': listed, 'rm': removed.stderr, 'left': [n for n in ('crowd', 'crowded') if os.path.lexists(n)]}


def seeking():
    """seekdir to each place that telldir gave, while names come and go: what stays is shown once, from there on."""
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    for name in ('readdir', 'telldir', 'closedir', 'rewinddir'):
        getattr(libc, name).argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    for i in range(300):
        make(f'many/made-{i}')
    stream = libc.opendir(b'many')

    def read():
        entry = libc.readdir(stream)
        return os.fsdecode(ctypes.string_at(entry + 19)) if entry else None

    places, order = [], []
    while True:
        places.append(libc.telldir(stream))
        name = read()
        if name is None:
            break
        order.append(name)
    gone = set(order[40:60] + order[400:420]) - {'.', '..'}
    for name in gone:
        os.unlink(f'many/{name}')
    for i in range(100):
        make(f'many/later-{i}')
    wrong = []
    for at in range(0, len(order), 7):
        libc.seekdir(stream, places[at])
        rest = []
        while (name := read()) is not None:
            rest.append(name)
        stay = [n for n in order[at:] if n not in gone]
        shown = [n for n in rest if not n.startswith('later-')]
        if shown != stay:
            wrong.append([at, len(shown), len(stay)])
    libc.rewinddir(stream)
    names = []
    while (name := read()) is not None:
        names.append(name)
    libc.closedir(stream)
    return {'wrong': wrong, 'listed': len(order), 'after': len(names), 'twice': len(names) - len(set(names))}


def deep_trees():
    """A tree far deeper than a path can name: made, renamed, walked and removed."""
    here = os.open('.', os.O_RDONLY)
    os.mkdir('deep')
    os.chdir('deep')
    for _ in range(number):
        os.mkdir('level-of-tree')
        os.chdir('level-of-tree')
    make('leaf', b'far down')
    # Python asks the kernel, which gives up at PATH_MAX, and then the C library walks upwards.
    cwd = len(os.getcwd()) - len(base)
    os.fchdir(here)
    os.rename('deep', 'folder/deeper/deep')
    os.chdir('folder/deeper/deep')
    for _ in range(number):
        os.chdir('level-of-tree')
    content = open('leaf').read()
    moved = len(os.getcwd()) - len(base)
    os.rename('leaf', 'leaf-2')
    os.fchdir(here)
    removed = subprocess.run(['rm', '-rf', 'folder'], capture_output=True, text=True)
    return {'cwd': cwd, 'moved': moved, 'content': content, 'rm': removed.stderr, 'left': os.path.lexists('folder')}


def missing():
    """Very many look-ups of names that are not there."""
    found = sum(os.access(f'folder/missing-{i}', os.F_OK) for i in range(number))
    return {'found': found}


def open_at_once():
    """NUMBER files open at once, until stdin ends: new ones, files of the template, files of it that are written."""
    names = [f'many/entry-{i:04}' for i in range(300)]
    descriptors = []
    for i in range(number):
        if i % 3 == 0:
            descriptors.append(os.open(names[i // 3 % 300], os.O_RDONLY))
        elif i % 3 == 1:
            descriptors.append(os.open(f'folder/made-{os.getpid()}-{i}', os.O_CREAT | os.O_RDWR))
        else:
            descriptors.append(os.open(f'size-{(65536, 4096, 1000003)[i % 7 % 3]}', os.O_RDWR))
    readable = sum(os.fstat(fd).st_nlink == 1 for fd in descriptors)
    print(json.dumps({'open': len(descriptors), 'linked': readable}), flush=True)
    sys.stdin.read()
    return {'written': sum(os.pwrite(fd, b'x', 0) for fd in descriptors[1::3])}


SCENARIOS = {function.__name__: function for function in (
    long_names, hard_links, open_and_unlinked, inheritance, symlinks_into_itself, direct_io, mappings, busy_then_removed, ctimes,
    removed_at_once, seeking, deep_trees, missing, open_at_once)}
os.chdir(base)
print(json.dumps(SCENARIOS[scenario](), sort_keys=True))
