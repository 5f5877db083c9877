"""What a container can do on a store that is full, or has become read-only, and what it is told.

Every operation either works or fails with the errno of a full (read-only) file system, and then nothing of it is there: after each one
the whole root is compared with what it was. What needs no space works. A worker that is killed meanwhile is followed by another one.
With room again everything works, and what the container sees after a new mount is what it saw before.
"""
import ctypes
import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys

from full_volumes import end_by_force
from stores import Fault, Store
from volume import Volume

libc = ctypes.CDLL(None, use_errno=True)
LARGE = 3_000_000
XATTR = b'x' * 3000
TOPS = ('usr', 'data')
FULL = {errno.ENOSPC}
PUNCH = 3
# Stores into the hole of a file through a mapping, and says how that ended.
MAP = '''
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
with mmap.mmap(fd, 1 << 20) as pages:
    pages[500000:600000] = b'm' * 100000
    pages.flush()
os.fsync(fd)
'''


def content(name, size):
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def build(base):
    for top in TOPS:
        os.makedirs(f'{base}/{top}/folder/deep')
        os.makedirs(f'{base}/{top}/second/empty')
        for name, size in {'small': 100, 'other': 5000, 'third': 300, 'middle': 200_000, 'large': LARGE, 'folder/inner': 700, 'folder/deep/file': 4096}.items():
            with open(f'{base}/{top}/{name}', 'wb') as f:
                f.write(content(name, size))
        os.link(f'{base}/{top}/other', f'{base}/{top}/folder/linked')
        os.symlink('small', f'{base}/{top}/symlink')
        os.setxattr(f'{base}/{top}/small', 'user.note', b'of the template')


def prepare(root):
    """What the container has made while there was room."""
    for top in TOPS:
        os.makedirs(f'{root}/{top}/own/inner')
        for name in ('first', 'second', 'third', 'fourth'):
            with open(f'{root}/{top}/own/{name}', 'wb') as f:
                f.write(content(name, 50_000))
        with open(f'{root}/{top}/third', 'r+b') as f:
            f.write(b'changed')
        with open(f'{root}/{top}/own/sparse', 'wb') as f:
            f.truncate(1 << 20)
        with open(f'{root}/{top}/own/many', 'wb') as f:
            f.write(content('many', 400_000))
    os.sync()


def look(root):
    """path → what a program sees: not the times of folders, which a failed attempt may move"""
    seen = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names, '.'):
            path = os.path.normpath(os.path.join(folder, name))
            found = os.lstat(path)
            entry = [oct(found.st_mode), found.st_uid, found.st_gid, found.st_nlink, found.st_ino]
            if stat.S_ISREG(found.st_mode):
                with open(path, 'rb') as f:
                    entry += [found.st_size, found.st_mtime_ns, hashlib.sha256(f.read()).hexdigest()]
            if stat.S_ISLNK(found.st_mode):
                entry.append(os.readlink(path))
            entry += sorted((key, os.getxattr(path, key, follow_symlinks=False).hex()) for key in os.listxattr(path, follow_symlinks=False))
            seen[os.path.relpath(path, root)] = entry
    return seen


def difference(before, after):
    return [f'{path}: {before.get(path)} → {after.get(path)}' for path in sorted({*before, *after}) if before.get(path) != after.get(path)]


def opened(path, flags, use):
    fd = os.open(path, flags, 0o644)
    try:
        return use(fd)
    finally:
        os.close(fd)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), 'fallocate')


def write_all(fd, data, offset):
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def write_new(path, size):
    """Makes a file; one that cannot be written whole is removed, as programs do."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(fd, content(path, size), 0)
        os.fsync(fd)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def unnamed(folder):
    def use(fd):
        os.write(fd, b'n' * 200_000)
        os.fsync(fd)
    opened(folder, os.O_TMPFILE | os.O_RDWR, use)


def store_by_mapping(path):
    ended = subprocess.run([sys.executable, '-c', MAP, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode == -signal.SIGBUS:
        raise OSError(errno.ENOSPC, 'SIGBUS')
    if ended.returncode:
        for code in (errno.ENOSPC, errno.EROFS, errno.EIO):
            if f'[Errno {code}]' in ended.stdout:
                raise OSError(code, 'msync')
        raise Fault(f'a store through a mapping: {ended.stdout}')


# name, what it does, and whether a part of it may stay, as on any file system: what was written before the error is written.
def operations(top):
    return [
        ('create in a folder of the template', lambda: write_new(f'{top}/folder/new', 0), False),
        ('create', lambda: write_new(f'{top}/own/new', 0), False),
        ('write a new file', lambda: write_new(f'{top}/own/written', 300_000), False),
        ('mkdir', lambda: os.mkdir(f'{top}/own/folder'), False),
        ('mkdir in a folder of the template', lambda: os.mkdir(f'{top}/second/folder'), False),
        ('symlink', lambda: os.symlink('t' * 2000, f'{top}/own/symlink'), False),
        ('mknod', lambda: os.mkfifo(f'{top}/own/fifo'), False),
        ('link a file of the template', lambda: os.link(f'{top}/small', f'{top}/own/linked'), False),
        ('link', lambda: os.link(f'{top}/own/first', f'{top}/own/linked2'), False),
        ('rename a file of the template', lambda: os.rename(f'{top}/folder/inner', f'{top}/folder/moved'), False),
        ('rename a folder of the template', lambda: os.rename(f'{top}/folder/deep', f'{top}/own/deep'), False),
        ('rename over a file of the template', lambda: os.rename(f'{top}/own/fourth', f'{top}/small'), False),
        ('chmod of a file of the template', lambda: os.chmod(f'{top}/other', 0o600), False),
        ('chown of a symlink of the template', lambda: os.lchown(f'{top}/symlink', 5, 6), False),
        ('setxattr', lambda: os.setxattr(f'{top}/own/first', 'user.long', XATTR), False),
        ('setxattr on a file of the template', lambda: os.setxattr(f'{top}/middle', 'user.long', XATTR), False),
        ('open a file of the template for writing', lambda: opened(f'{top}/middle', os.O_RDWR, lambda fd: None), False),
        ('change a large file of the template', lambda: opened(f'{top}/large', os.O_RDWR, lambda fd: write_all(fd, b'w' * 200_000, 1_000_001)), True),
        ('append', lambda: opened(f'{top}/own/second', os.O_RDWR | os.O_APPEND, lambda fd: (os.write(fd, b'a' * 100_000), os.fsync(fd))), True),
        ('write into a hole', lambda: opened(f'{top}/own/sparse', os.O_RDWR, lambda fd: (write_all(fd, b'h' * 100_000, 0), os.fsync(fd))), True),
        ('store into a hole through a mapping', lambda: store_by_mapping(f'{top}/own/sparse'), True),
        ('fallocate', lambda: opened(f'{top}/own/sparse', os.O_RDWR, lambda fd: fallocate(fd, 0, 0, 4 << 20)), True),
        ('truncate to more', lambda: os.truncate(f'{top}/own/third', 1 << 20), False),
        ('O_TMPFILE', lambda: unnamed(f'{top}/own'), False),
        ('delete a file of the template', lambda: os.unlink(f'{top}/folder/inner2' if os.path.lexists(f'{top}/folder/inner2') else f'{top}/other'), False),
        ('delete a folder of the template', lambda: os.rmdir(f'{top}/second/empty'), False),
    ]


def without_room(top):
    """What must work on a full disk, where the number of inodes is what it has not, too."""
    return [
        ('overwrite', lambda: opened(f'{top}/own/many', os.O_RDWR, lambda fd: (write_all(fd, b'o' * 100_000, 4096), os.fsync(fd)))),
        ('chmod', lambda: os.chmod(f'{top}/own/many', 0o640)),
        ('utimes', lambda: os.utime(f'{top}/own/many', ns=(10**18, 10**18))),
        ('rename', lambda: os.rename(f'{top}/own/many', f'{top}/own/renamed')),
        ('delete', lambda: os.unlink(f'{top}/own/first')),
        ('delete while it is open', lambda: opened(f'{top}/own/second', os.O_RDWR, lambda fd: os.unlink(f'{top}/own/second'))),
        ('rmdir', lambda: os.rmdir(f'{top}/own/inner')),
        ('truncate to less', lambda: os.truncate(f'{top}/own/renamed', 1000)),
    ]


class FullRoot:
    def __init__(self, base, kind):
        self.base, self.kind = base, kind
        self.store = Store(f'{base}/volume/store')
        self.pattern = Volume(kind, f'{base}/pattern.img', f'{base}/volume')
        self.root = self.store.root()

    def make(self):
        source = f'{self.base}/source'
        build(source)
        self.pattern.make()
        self.pattern.mount()
        try:
            for arguments in (('template', 'import', 'base', source), ('create', 'c', '--ostemplate', 'base'), ('create', 'other', '--ostemplate', 'base')):
                self.store.ok(*arguments)
        finally:
            self.pattern.umount()

    def run(self, way, report):
        """@returns operations that were looked at"""
        volume = self.pattern.copy(f'{self.base}/case.img')
        volume.mount()
        broken = way == 'breaks-off'
        try:
            self.store.ok('mount', 'c')
            prepare(self.root)
            if way == 'bytes':
                volume.fill_bytes()
            elif way == 'inodes':
                volume.fill_inodes()
            else:
                volume.break_off()
            count = self.fail_all(way, report)
            self.kill_worker()
            look(self.root)
            if broken:
                self.end_broken(volume)
                return count
            count += self.work_without_room(way)
            volume.empty()
            self.kill_worker()
            self.work_again(way)
            self.look_again()
        finally:
            if broken:
                end_by_force(self.store)
            self.store.end()
            volume.umount()
        return count

    def fail_all(self, way, report):
        count = 0
        for top in TOPS:
            for name, act, may_stay in operations(f'{self.root}/{top}'):
                what = f'{self.kind}, {way}, {top}: {name}'
                before = look(self.root)
                code = self.attempt(what, act)
                count += 1
                report(f'{what}: {errno.errorcode.get(code, "done")}')
                # ext4 says EIO for what its journal was to take, and EROFS for the rest.
                allowed = {errno.EROFS, errno.EIO} if way == 'breaks-off' else FULL
                if way == 'breaks-off' and code == 0:
                    continue  # what needs no journal
                if code and code not in allowed:
                    raise Fault(f'{what}: {errno.errorcode[code]}')
                if code and not may_stay and (wrong := difference(before, look(self.root))):
                    raise Fault(f'{what} failed with {errno.errorcode[code]} and left {wrong}')
        return count

    def attempt(self, what, act):
        try:
            act()
            return 0
        except OSError as error:
            return error.errno
        except Fault as fault:
            raise Fault(f'{what}: {fault}') from fault

    def work_without_room(self, way):
        count = 0
        for top in TOPS:
            for name, act in without_room(f'{self.root}/{top}'):
                count += 1
                code = self.attempt(name, act)
                if code:
                    raise Fault(f'{self.kind}, {way}, {top}: {name} fails with {errno.errorcode[code]}')
        return count

    def work_again(self, way):
        for top in TOPS:
            for name, act, _may_stay in operations(f'{self.root}/{top}'):
                code = self.attempt(name, act)
                if code in (errno.EEXIST, errno.ENOENT):
                    continue  # it worked before, or what it needs was deleted since
                if code:
                    raise Fault(f'{self.kind}, {way}, {top}: with room again {name} fails with {errno.errorcode[code]}')
            with open(f'{self.root}/{top}/large', 'rb') as f:
                found = f.read()
            wanted = bytearray(content('large', LARGE))
            wanted[1_000_001:1_200_001] = b'w' * 200_000
            if found != wanted:
                raise Fault(f'{self.kind}, {way}, {top}: the large file has wrong bytes')

    def look_again(self):
        """After a new mount everything is as it was, and the store is sound."""
        before = look(self.root)
        self.store.ok('umount', 'c')
        self.store.verify()
        self.store.ok('mount', 'c')
        if wrong := difference(before, look(self.root)):
            raise Fault(f'after a new mount: {wrong}')
        self.store.ok('umount', 'c')
        staging = os.listdir(f'{self.store.path}/private/c/staging')
        if staging:
            raise Fault(f'private/c/staging holds {staging}')

    def kill_worker(self):
        with open(f'{self.store.path}/run/c/engine') as f:
            holder = dict(line.rstrip('\n').split(' ', 1) for line in f)['holder']
        with open(f'/proc/{holder}/task/{holder}/children') as f:
            os.kill(int(f.read().split()[0]), signal.SIGKILL)
        os.statvfs(self.root)

    def end_broken(self, volume):
        """What the journal had not taken is lost, as after a power loss; the rest is sound."""
        end_by_force(self.store)
        volume.umount()
        volume.repair()
        volume.mount()
        self.store.verify()
        self.store.ok('mount', 'c')
        look(self.root)
        write_new(f'{self.root}/data/after', 5000)
        self.store.ok('umount', 'c')
        self.store.verify()


def run_all(base, kinds, ways, report):
    """@returns operations, failures"""
    count = failures = 0
    for kind in kinds:
        place = f'{base}/{kind}'
        os.makedirs(place)
        roots = FullRoot(place, kind)
        try:
            roots.make()
            for way in ways:
                # A mounted root has its log open: nobody can remount its file system read-only.
                if way in ('read-only', 'turns-read-only') or (kind != 'ext4' and way in ('inodes', 'breaks-off')):
                    continue
                try:
                    count += roots.run(way, report)
                except (Fault, RuntimeError, OSError, subprocess.SubprocessError) as fault:
                    count += 1
                    failures += 1
                    print(f'root on {kind}, {way}: {fault}', flush=True)
        finally:
            roots.pattern.detach()
    return count, failures
