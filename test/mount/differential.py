#!/usr/bin/env python3
"""Runs the same random operations on a root and on a plain copy of its template, and compares everything.

The copy lies on an ordinary file system (ext4 in CI). After every operation results and errnos are compared, after
every few the whole trees: names, types, modes, owners, link counts, sizes, device numbers, contents, xattrs, times
and the identity of inodes. The engine's worker is killed and the root remounted at random. A failing
run prints its seed and shrinks the sequence; --replay runs a printed sequence again.

Known and documented differences are left out: what a read-only descriptor that was opened on a shared path before the file
was changed reads (docs/architecture.md), st_blocks, directory sizes, ctime and atime.
"""
import argparse
import ctypes
import errno
import json
import mmap
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD, AT_EMPTY_PATH, O_TMPFILE = -100, 0x1000, 0o20200000


def call(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def renameat2(old, new, flags):
    call('renameat2', AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fallocate(fd, mode, offset, length):
    call('fallocate', fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


class Template:
    """The hierarchy both sides start from."""

    @staticmethod
    def build(base):
        def put(path, data, mode=0o644, uid=0, gid=0):
            full = os.path.join(base, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, 'wb') as f:
                f.write(data)
            os.chown(full, uid, gid)
            os.chmod(full, mode)
            os.utime(full, ns=(10**18 + len(path), 10**18 + len(path) * 7))
        rng = random.Random(7)
        for top in ('usr', 'data'):
            for d in ('a', 'b', 'a/deep', 'a/deep/er'):
                for i in range(4):
                    put(f'{top}/{d}/f{i}', rng.randbytes(rng.choice([0, 1, 100, 4096, 9000, 70000])), rng.choice([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o666]), rng.choice([0, 1000]), rng.choice([0, 1000, 1001]))
            os.link(f'{base}/{top}/a/f0', f'{base}/{top}/a/hard0')
            os.link(f'{base}/{top}/a/f0', f'{base}/{top}/b/hard0')
            os.link(f'{base}/{top}/a/f1', f'{base}/{top}/b/hard1')
            os.symlink('f0', f'{base}/{top}/a/sym')
            os.symlink('nowhere', f'{base}/{top}/b/dangling')
            os.link(f'{base}/{top}/b/dangling', f'{base}/{top}/b/dangling2', follow_symlinks=False)
            os.mkfifo(f'{base}/{top}/a/fifo', 0o640)
            os.mknod(f'{base}/{top}/b/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mkdir(f'{base}/{top}/empty')
            os.mkdir(f'{base}/{top}/sgid')
            os.chown(f'{base}/{top}/sgid', 1000, 1001)
            os.chmod(f'{base}/{top}/sgid', 0o2777)
            os.mkdir(f'{base}/{top}/sticky')
            os.chmod(f'{base}/{top}/sticky', 0o1777)
            os.mkdir(f'{base}/{top}/acl')
            os.chmod(f'{base}/{top}/acl', 0o777)
            subprocess.run(['setfacl', '-m', 'd:u:1000:rwx,d:g:1001:r-x,d:o:---,u:1001:rwx', f'{base}/{top}/acl'], check=True)
            put(f'{top}/acl/kept', b'with acl')
            os.setxattr(f'{base}/{top}/a/f2', 'user.note', b'from the template')
            os.setxattr(f'{base}/{top}/a', 'trusted.note', b'folder')
            put(f'{top}/b/' + 'n' * 255, b'long name')
            put(f'{top}/b/odd \n\xe9name', b'odd name')
            with open(f'{base}/{top}/b/sparse', 'wb') as f:
                f.truncate(1 << 20)
                f.seek(300000)
                f.write(b'in the middle')
            os.chmod(f'{base}/{top}/b', 0o777)
        os.chmod(base, 0o755)
        for root, dirs, _files in os.walk(base):
            for d in dirs:
                full = os.path.join(root, d)
                if not os.path.islink(full):
                    os.utime(full, ns=(10**18, 10**18 + 5))
        os.utime(base, ns=(10**18, 10**18 + 5))


class Root:
    """The mounted side: starts, kills, remounts the engine."""

    def __init__(self, engine, store, container, tree, mount_options):
        self.engine, self.store, self.container, self.options = engine, store, container, mount_options
        area = f'{store}/private/{container}'
        for d in ('root', 'inodes', 'staging'):
            os.makedirs(f'{area}/{d}')
        with open(f'{area}/container', 'w') as f:
            f.write(f'templatefs-container 1\nname {container}\ntree {tree}\n')
        self.path = f'{store}/root/{container}'
        os.makedirs(self.path)
        self.mount()

    def mount(self):
        subprocess.run([self.engine, 'mount', '--store', self.store, '--container', self.container, '--mountpoint', self.path, *self.options], check=True)

    def state(self):
        with open(f'{self.store}/run/{self.container}/engine') as f:
            return dict(line.rstrip('\n').split(' ', 1) for line in f)

    def umount(self):
        holder = int(self.state()['holder'])
        subprocess.run(['umount', self.path], check=True)
        wait_gone(holder)

    def kill_worker(self):
        try:
            os.kill(int(self.state()['worker']), signal.SIGKILL)
        except ProcessLookupError:
            pass  # dead already, and its successor not yet noted

    def destroy(self):
        try:
            self.umount()
        finally:
            shutil.rmtree(f'{self.store}/private/{self.container}')


def wait_gone(pid):
    # A mount namespace that was made meanwhile (another test's) holds the mount until it ends, so this may take a while.
    for _ in range(24_000):
        try:
            with open(f'/proc/{pid}/stat') as f:
                if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.005)
    raise RuntimeError(f'process {pid} does not end')


NAMES = ['f0', 'f1', 'f2', 'f3', 'hard0', 'hard1', 'sym', 'dangling', 'fifo', 'null', 'deep', 'er', 'n' * 255, 'odd \n\xe9name', 'new1', 'new2', 'new3', 'kept', 'sparse', 'n' * 256]
DIRS = ['a', 'b', 'a/deep', 'a/deep/er', 'empty', 'sgid', 'sticky', 'acl', 'nd1', 'nd2', 'nd1/nd3', 'b/nd4']


class Sequence:
    """Draws operations; each is plain data, so that it can be replayed and left out."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.slots = 6

    def path(self):
        rng = self.rng
        top = rng.choice(['usr', 'data'])
        if rng.random() < 0.15:
            return f'{top}/{rng.choice(DIRS)}'
        return f'{top}/{rng.choice(DIRS)}/{rng.choice(NAMES)}'

    def draw(self):
        rng = self.rng
        kind = rng.choices(
            ['create', 'open', 'close', 'read', 'write', 'ftruncate', 'fstat', 'mkdir', 'rmdir', 'unlink', 'rename', 'renameflags', 'link', 'symlink', 'mknod', 'chmod', 'chown', 'utime', 'truncate', 'setxattr', 'getxattr', 'removexattr', 'stat', 'readlink', 'listdir', 'tmpfile', 'linkfd', 'fallocate', 'mmap', 'seek', 'fchmod', 'copyrange', 'setacl', 'append', 'rmtree', 'movetree', 'fsync', 'kill', 'remount'],
            [8, 8, 6, 8, 8, 3, 4, 5, 4, 8, 10, 5, 6, 3, 3, 6, 4, 4, 4, 4, 3, 2, 4, 2, 4, 2, 3, 2, 3, 2, 2, 2, 2, 4, 1, 3, 1, 1, 1])[0]
        op = {'op': kind, 'path': self.path(), 'other': self.path(), 'slot': rng.randrange(self.slots), 'uid': rng.choice([0, 0, 0, 1000]), 'n': rng.randrange(1 << 30)}
        if kind == 'movetree':
            op['path'] = f"{rng.choice(['usr', 'data'])}/{rng.choice(DIRS)}"
            op['other'] = f"{rng.choice(['usr', 'data'])}/{rng.choice(DIRS)}"
        return op


class Side:
    """One of the two file systems, with its open descriptors."""

    zero_devices = True

    def __init__(self, base):
        self.base = base
        self.fds = {}

    def full(self, path):
        return os.path.join(self.base, path)

    def close_all(self):
        for fd, _ in self.fds.values():
            os.close(fd)
        self.fds.clear()

    def take(self, slot, fd, info):
        old = self.fds.pop(slot, None)
        if old:
            os.close(old[0])
        self.fds[slot] = (fd, info)

    def fd(self, op):
        if op['slot'] not in self.fds:
            raise OSError(errno.EBADF, 'no such slot')
        return self.fds[op['slot']][0]

    def run(self, op):
        method = getattr(self, 'op_' + op['op'])
        if op['uid']:
            os.setegid(1001)
            os.seteuid(op['uid'])
        try:
            return ['ok', method(op)]
        except OSError as e:
            return ['error', errno.errorcode.get(e.errno, e.errno)]
        finally:
            if op['uid']:
                os.seteuid(0)
                os.setegid(0)

    def data(self, op):
        return random.Random(op['n']).randbytes([1, 10, 1000, 4096, 5000, 40000][op['n'] % 6])

    def op_create(self, op):
        os.umask([0o022, 0o077, 0][op['n'] % 3])
        flags = os.O_CREAT | os.O_RDWR | (os.O_EXCL if op['n'] & 8 else 0) | os.O_NONBLOCK
        fd = os.open(self.full(op['path']), flags, [0o644, 0o666, 0o755, 0o4755, 0o2755, 0o600][op['n'] % 6])
        self.take(op['slot'], fd, (op['path'], True))
        return os.write(fd, self.data(op))

    def op_open(self, op):
        flags = [os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY, os.O_RDWR | os.O_APPEND][op['n'] % 6]
        mode = os.lstat(self.full(op['path'])).st_mode
        if stat.S_ISFIFO(mode):
            return 'fifo'
        fd = os.open(self.full(op['path']), flags | os.O_NONBLOCK)  # a symlink may lead to a fifo
        self.take(op['slot'], fd, (op['path'], flags & os.O_ACCMODE != os.O_RDONLY))
        return None

    def op_close(self, op):
        fd = self.fd(op)
        del self.fds[op['slot']]
        os.close(fd)

    def op_read(self, op):
        fd = self.fd(op)
        path, writable = self.fds[op['slot']][1]
        data = os.pread(fd, 5000, op['n'] % 80000)
        # A reader of a shared path keeps the bytes it had: documented.
        return data.hex() if writable or path.startswith('data/') else None

    def op_write(self, op):
        return os.pwrite(self.fd(op), self.data(op), op['n'] % 80000)

    def op_append(self, op):
        fd = os.open(self.full(op['path']), os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return 'other'
            return os.write(fd, self.data(op))
        finally:
            os.close(fd)

    def op_ftruncate(self, op):
        os.ftruncate(self.fd(op), op['n'] % 100000)

    def op_fstat(self, op):
        return show(os.fstat(self.fd(op)))

    def op_mkdir(self, op):
        os.umask([0o022, 0o077, 0][op['n'] % 3])
        os.mkdir(self.full(op['path']), [0o755, 0o777, 0o2755, 0o1777][op['n'] % 4])

    def op_rmdir(self, op):
        os.rmdir(self.full(op['path']))

    def op_unlink(self, op):
        os.unlink(self.full(op['path']))

    def op_rename(self, op):
        os.rename(self.full(op['path']), self.full(op['other']))

    op_movetree = op_rename

    def op_renameflags(self, op):
        flags = [RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE, RENAME_WHITEOUT][op['n'] % 4]
        if flags == RENAME_WHITEOUT and not Side.zero_devices:
            return 'left out'
        if flags == RENAME_WHITEOUT and os.path.lexists(self.full(op['other'])):
            # ext4 changes the folder's mtime also when such a rename fails in the end.
            raise OSError(errno.EEXIST, 'left out')
        renameat2(self.full(op['path']), self.full(op['other']), flags)

    def op_link(self, op):
        os.link(self.full(op['path']), self.full(op['other']), follow_symlinks=False)

    def op_symlink(self, op):
        os.symlink('t' * (op['n'] % 300 + 1), self.full(op['path']))

    def op_mknod(self, op):
        os.umask(0)
        kind = [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFCHR][op['n'] % 5]
        if kind == stat.S_IFCHR and not Side.zero_devices:
            return 'left out'  # a store on overlayfs cannot keep devices 0:0, nor can overlayfs itself
        device = os.makedev(1, 5) if op['n'] % 5 == 3 else 0
        os.mknod(self.full(op['path']), kind | 0o640, device)

    def op_chmod(self, op):
        os.chmod(self.full(op['path']), [0o644, 0o4755, 0o2755, 0o777, 0o600, 0o1777, 0o6777][op['n'] % 7])

    def op_fchmod(self, op):
        os.fchmod(self.fd(op), [0o644, 0o4777, 0o2755, 0o666][op['n'] % 4])

    def op_chown(self, op):
        os.chown(self.full(op['path']), [0, 1000, -1][op['n'] % 3], [0, 1001, -1][op['n'] % 5 % 3], follow_symlinks=False)

    def op_utime(self, op):
        ns = [op['n'] * 1000003, 10**18 + op['n'], 4 * 10**18 + op['n'], -10**9 * 1000 + 5][op['n'] % 4]
        os.utime(self.full(op['path']), ns=(ns, ns + 1), follow_symlinks=False)

    def op_truncate(self, op):
        os.truncate(self.full(op['path']), [0, 10, 5000, 100000][op['n'] % 4])

    def xattr_name(self, op):
        return ['user.one', 'user.note', 'trusted.two', 'security.three'][op['n'] % 4]

    def op_setxattr(self, op):
        os.setxattr(self.full(op['path']), self.xattr_name(op), self.data(op)[:200], [0, os.XATTR_CREATE, os.XATTR_REPLACE][op['n'] % 3], follow_symlinks=False)

    def op_getxattr(self, op):
        return os.getxattr(self.full(op['path']), self.xattr_name(op), follow_symlinks=False).hex()

    def op_removexattr(self, op):
        os.removexattr(self.full(op['path']), self.xattr_name(op), follow_symlinks=False)

    def op_setacl(self, op):
        entries = [(1, 6, -1), (2, [4, 7][op['n'] % 2], 1000), (4, 4, -1), (16, 7, -1), (32, op['n'] % 8, -1)]
        value = b'\2\0\0\0' + b''.join(t.to_bytes(2, 'little') + p.to_bytes(2, 'little') + (i & 0xffffffff).to_bytes(4, 'little') for t, p, i in entries)
        os.setxattr(self.full(op['path']), ['system.posix_acl_access', 'system.posix_acl_default'][op['n'] // 8 % 2], value)

    def op_stat(self, op):
        return show(os.lstat(self.full(op['path'])))

    def op_readlink(self, op):
        return os.readlink(self.full(op['path']))

    def op_listdir(self, op):
        return sorted(os.fsencode(n).hex() for n in os.listdir(self.full(op['path'])))

    def op_tmpfile(self, op):
        fd = os.open(self.full(os.path.dirname(op['path'])), O_TMPFILE | os.O_RDWR, 0o640)
        self.take(op['slot'], fd, (op['path'], True))
        os.write(fd, self.data(op))
        return show(os.fstat(fd))

    def op_linkfd(self, op):
        fd = self.fd(op)
        call('linkat', AT_FDCWD, os.fsencode(f'/proc/self/fd/{fd}'), AT_FDCWD, os.fsencode(self.full(op['other'])), 0x400)

    def op_fallocate(self, op):
        mode = [0, 1, 3, 16][op['n'] % 4]  # allocate, keep size, punch a hole, zero
        fallocate(self.fd(op), mode, op['n'] % 50000, 10000)

    def op_mmap(self, op):
        fd = self.fd(op)
        if os.fstat(fd).st_size < 100 or not self.fds[op['slot']][1][1]:
            return 'small'
        with mmap.mmap(fd, 100, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as m:
            m[op['n'] % 90:op['n'] % 90 + 5] = b'store'
            return bytes(m[:]).hex()

    def op_seek(self, op):
        fd = self.fd(op)
        path, writable = self.fds[op['slot']][1]
        if not writable:
            return None
        return os.lseek(fd, 0, os.SEEK_END)

    def op_copyrange(self, op):
        source = os.open(self.full(op['path']), os.O_RDONLY | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(source).st_mode):
                return 'other'
            return os.copy_file_range(source, self.fd(op), 3000, op['n'] % 1000, op['n'] % 60000)
        finally:
            os.close(source)

    def op_rmtree(self, op):
        path = self.full(os.path.dirname(op['path']))
        failed = []
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return 'no folder'  # rmtree would open a fifo and wait
        shutil.rmtree(path, onerror=lambda f, p, e: failed.append(os.path.relpath(p, self.base) if isinstance(p, str) else str(p)))
        return sorted(failed)

    def op_fsync(self, op):
        os.fsync(self.fd(op))


def show(s):
    size = s.st_size if not stat.S_ISDIR(s.st_mode) else 0
    return [oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, size, s.st_rdev if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode) else 0]


def snapshot(base, started):
    out, inodes = {}, {}
    stack = ['']
    while stack:
        d = stack.pop()
        full = os.path.join(base, d) if d else base
        s = os.lstat(full)
        record = show(s)
        now = started <= s.st_mtime_ns <= started + 10**14
        # Writing into a fifo changes its mtime on ext4; the kernel never tells a FUSE file system of it.
        record.append('now' if now or stat.S_ISFIFO(s.st_mode) else s.st_mtime_ns)
        xattrs = {n: os.getxattr(full, n, follow_symlinks=False).hex() for n in os.listxattr(full, follow_symlinks=False)}
        record.append(xattrs)
        if stat.S_ISREG(s.st_mode):
            with open(full, 'rb') as f:
                record.append(hash(f.read()))
        elif stat.S_ISLNK(s.st_mode):
            record.append(os.readlink(full))
        elif stat.S_ISDIR(s.st_mode):
            names = []
            with os.scandir(full) as entries:
                for e in entries:
                    child = os.path.join(d, e.name) if d else e.name
                    names.append(e.name)
                    stack.append(child)
                    if e.inode() != os.lstat(os.path.join(full, e.name)).st_ino:
                        record.append(f'd_ino of {child} differs')
            if len(names) != len(set(names)):
                record.append('a name is listed twice')
        out[d] = record
        inodes[d] = s.st_ino
    return out, inodes


def compare(root, copy, started, last_inodes):
    a, a_inodes = snapshot(root.base, started)
    b, b_inodes = snapshot(copy.base, started)
    for path in sorted(set(a) | set(b)):
        if a.get(path) != b.get(path):
            return f'{path!r}: root {a.get(path)} plain {b.get(path)}', None
    forward, backward = {}, {}
    for path in a:
        if forward.setdefault(b_inodes[path], a_inodes[path]) != a_inodes[path] or backward.setdefault(a_inodes[path], b_inodes[path]) != b_inodes[path]:
            return f'{path!r}: inode identity differs', None
    return None, forward


def execute(operations, make_sides, check_every):
    root_control, root, copy = make_sides()
    started = time.time_ns() - 10**9
    inodes = None
    try:
        for i, op in enumerate(operations):
            if op['op'] == 'kill':
                root_control.kill_worker()
                continue
            if op['op'] == 'remount':
                root.close_all()
                copy.close_all()
                root_control.umount()
                root_control.mount()
                continue
            a, b = root.run(op), copy.run(op)
            if a != b:
                return i, f'{op}: root {a} plain {b}'
            if (i + 1) % check_every == 0 or i + 1 == len(operations):
                problem, inodes = compare(root, copy, started, inodes)
                if problem:
                    return i, f'after {op}: {problem}'
        return None, None
    finally:
        root.close_all()
        copy.close_all()
        root_control.destroy()
        shutil.rmtree(copy.base)


def shrink(operations, fails):
    """Leaves out halves, quarters, … of the sequence as long as it still fails."""
    size = max(1, len(operations) // 2)
    while True:
        at = 0
        while at < len(operations):
            shorter = operations[:at] + operations[at + size:]
            if shorter and fails(shorter):
                operations = shorter
            else:
                at += size
        if size == 1:
            return operations
        size //= 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--engine', required=True)
    parser.add_argument('--store', required=True, help='a store that holds --tree')
    parser.add_argument('--tree', required=True, help='digest of the imported template')
    parser.add_argument('--template', required=True, help='folder that was imported')
    parser.add_argument('--work', required=True, help='folder for the plain copies')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--seeds', type=int, default=1)
    parser.add_argument('--ops', type=int, default=500)
    parser.add_argument('--check-every', type=int, default=25)
    parser.add_argument('--no-passthrough', action='store_true')
    parser.add_argument('--no-zero-devices', action='store_true', help='make no devices 0:0: the store lies on overlayfs')
    parser.add_argument('--replay')
    parser.add_argument('--build-template', action='store_true')
    options = parser.parse_args()
    if options.build_template:
        Template.build(options.template)
        return 0
    Side.zero_devices = not options.no_zero_devices
    counter = [0]

    def make_sides():
        counter[0] += 1
        name = f'd{os.getpid()}-{counter[0]}'
        copy = f'{options.work}/{name}'
        subprocess.run(['cp', '-a', '--sparse=always', options.template, copy], check=True)
        control = Root(options.engine, options.store, name, options.tree, ['--no-passthrough'] if options.no_passthrough else [])
        return control, Side(control.path), Side(copy)

    if options.replay:
        with open(options.replay) as f:
            at, problem = execute(json.load(f), make_sides, 1)
        print(problem or 'no difference')
        return 1 if problem else 0
    total = 0
    for seed in range(options.seed, options.seed + options.seeds):
        sequence = Sequence(seed)
        operations = [sequence.draw() for _ in range(options.ops)]
        at, problem = execute(operations, make_sides, options.check_every)
        if problem:
            print(f'seed {seed}, operation {at}: {problem}', flush=True)
            small = shrink(operations[:at + 1], lambda ops: execute(ops, make_sides, 1)[1] is not None)
            _, problem = execute(small, make_sides, 1)
            print(f'shrunk to {len(small)} operations: {problem}')
            print(json.dumps(small))
            return 1
        total += len(operations)
    print(f'{total} operations over {options.seeds} seeds, no difference')
    return 0


if __name__ == '__main__':
    sys.exit(main())
