"""Clients that change names and attributes."""
import errno
import os
import stat
import time

from client import Client
from syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, getdents, renameat2


class File:
    """An inode, and what it must be."""

    def __init__(self, ino, content):
        self.ino, self.content = ino, content
        self.mode, self.owner, self.time, self.note = 0o644, 0, None, None
        self.names = 1


class Names(Client):
    """Creates, links, renames, removes, and changes attributes; whatever is done twice or not at all shows in an errno."""

    def begin(self):
        super().begin()
        os.mkdir(f'{self.folder}/sub')
        self.files = {}  # path: File

    def step(self):
        paths = list(self.files)
        if len(paths) < 10:
            return self.create()
        return self.rng.choice([
            self.create, self.create, self.rename, self.rename, self.rename_over, self.exchange, self.link, self.link, self.unlink, self.unlink,
            self.chmod, self.chown, self.touch, self.note, self.folders, self.symlink, self.node, self.look, self.look,
        ])()

    def place(self):
        self.serial += 1
        return f'{self.folder}/{self.rng.choice(["", "sub/"])}{self.number}-{self.serial}'

    def any(self):
        path = self.rng.choice(list(self.files))
        return path, self.files[path]

    def create(self):
        if len(self.files) > 60:
            return self.unlink()
        path, data = self.place(), self.rng.randbytes(self.rng.choice([0, 20, 3000]))
        self.put(path, data)
        self.refused(errno.EEXIST, os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.files[path] = File(self.do(os.stat, path).st_ino, data)

    def rename(self):
        old, file = self.any()
        new = self.place()
        self.do(renameat2, old, new, self.rng.choice([0, RENAME_NOREPLACE]))
        self.files[new] = self.files.pop(old)
        self.refused(errno.ENOENT, os.lstat, old)
        self.look_at(new, file)

    def rename_over(self):
        old, file = self.any()
        new, gone = self.any()
        self.refused(errno.EEXIST, renameat2, old, new, RENAME_NOREPLACE)
        if gone is file:
            return
        self.do(os.rename, old, new)
        gone.names -= 1
        self.files[new] = self.files.pop(old)
        self.look_at(new, file)

    def exchange(self):
        one, first = self.any()
        other, second = self.any()
        self.do(renameat2, one, other, RENAME_EXCHANGE)
        self.files[one], self.files[other] = second, first
        self.look_at(one, second)

    def link(self):
        old, file = self.any()
        new = self.place()
        self.do(os.link, old, new)
        self.refused(errno.EEXIST, os.link, old, new)
        file.names += 1
        self.files[new] = file
        self.look_at(new, file)

    def unlink(self):
        path, file = self.any()
        self.do(os.unlink, path)
        self.refused(errno.ENOENT, os.unlink, path)
        file.names -= 1
        del self.files[path]

    def chmod(self):
        path, file = self.any()
        file.mode = self.rng.choice([0o600, 0o644, 0o755, 0o640, 0o444])
        self.do(os.chmod, path, file.mode)
        self.look_at(path, file)

    def chown(self):
        path, file = self.any()
        file.owner = self.rng.choice([0, 1000, 4_000_000_000])
        self.do(os.chown, path, file.owner, file.owner)
        self.look_at(path, file)

    def touch(self):
        path, file = self.any()
        file.time = self.rng.randrange(10**18)
        self.do(os.utime, path, ns=(file.time, file.time))
        self.look_at(path, file)

    def note(self):
        path, file = self.any()
        if file.note is None:
            file.note = self.rng.randbytes(self.rng.choice([1, 30, 900]))
            self.do(os.setxattr, path, 'user.soak', file.note, os.XATTR_CREATE)
            self.refused(errno.EEXIST, os.setxattr, path, 'user.soak', b'', os.XATTR_CREATE)
        elif self.rng.random() < 0.5:
            file.note = self.rng.randbytes(30)
            self.do(os.setxattr, path, 'user.soak', file.note, os.XATTR_REPLACE)
        else:
            file.note = None
            self.do(os.removexattr, path, 'user.soak')
            self.refused(errno.ENODATA, os.removexattr, path, 'user.soak')
        self.look_at(path, file)

    def folders(self):
        path, other = self.place(), self.place()
        self.do(os.mkdir, path, 0o750)
        self.refused(errno.EEXIST, os.mkdir, path)
        self.do(os.mkdir, f'{path}/in')
        self.same(f'links of {path}', self.do(os.stat, path).st_nlink, 3)
        self.refused(errno.ENOTEMPTY, os.rmdir, path)
        self.do(os.rename, path, other)
        self.do(os.rmdir, f'{other}/in')
        self.do(os.rmdir, other)
        self.refused(errno.ENOENT, os.rmdir, other)

    def symlink(self):
        path = self.place()
        target = 't' * self.rng.choice([1, 100, 1000])
        self.do(os.symlink, target, path)
        self.refused(errno.EEXIST, os.symlink, target, path)
        self.same(path, self.do(os.readlink, path), target)
        self.do(os.unlink, path)

    def node(self):
        path = self.place()
        kind, device = self.rng.choice([(stat.S_IFIFO, 0), (stat.S_IFCHR, os.makedev(1, 3)), (stat.S_IFSOCK, 0)])
        self.do(os.mknod, path, kind | 0o600, device)
        self.refused(errno.EEXIST, os.mknod, path, kind | 0o600, device)
        found = self.do(os.lstat, path)
        self.same(path, (found.st_mode, found.st_rdev), (kind | 0o600, device))
        self.do(os.unlink, path)

    def look(self):
        self.look_at(*self.any())

    def look_at(self, path, file):
        found = self.do(os.stat, path)
        self.same(f'attributes of {path}', (found.st_ino, found.st_nlink, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_size),
                  (file.ino, file.names, file.mode, file.owner, file.owner, len(file.content)))
        if file.time is not None:
            self.same(f'time of {path}', found.st_mtime_ns, file.time)
        self.same(f'xattrs of {path}', [n for n in self.do(os.listxattr, path) if n.startswith('user.')], [] if file.note is None else ['user.soak'])
        if file.note is not None:
            self.same(f'xattr of {path}', self.do(os.getxattr, path, 'user.soak'), file.note)

    def check(self):
        found = sorted(os.path.join(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        self.same('names', found, sorted(self.files))
        for path, file in self.files.items():
            self.look_at(path, file)
            self.same_content(path, file.content)


class Streams(Client):
    """Reads a folder in small pieces while others of its names come and go: a name that stays is seen exactly once."""

    pace = 0.001

    def begin(self):
        self.folder = f'{self.root}/{self.top}/many'
        self.staying = {os.fsencode(name) for name in os.listdir(self.folder)}
        self.leaving = [f'{self.folder}/entry-{i}' for i in range(100)]
        self.staying -= {os.fsencode(os.path.basename(path)) for path in self.leaving}
        for i in range(60):
            self.put(f'{self.folder}/stays-{i}', b'')
            self.staying.add(b'stays-%d' % i)

    def step(self):
        fd = self.do(os.open, self.folder, os.O_RDONLY | os.O_DIRECTORY)
        seen = {}
        while True:
            entries = self.do(getdents, fd, self.rng.choice([400, 700, 4096]))
            if not entries:
                break
            for name, _ino, _offset in entries:
                seen[name] = seen.get(name, 0) + 1
            self.churn()
            time.sleep(self.rng.random() * 0.004)
        self.do(os.close, fd)
        self.same('staying names that were not seen once', sorted(n for n in self.staying if seen.get(n) != 1), [])

    def churn(self):
        chance = self.rng.random()
        if chance < 0.3:
            path = self.fresh()
            self.put(path, b'')
            self.leaving.append(path)
        elif self.leaving and chance < 0.6:
            self.do(os.unlink, self.leaving.pop(self.rng.randrange(len(self.leaving))))
        elif self.leaving:
            at = self.rng.randrange(len(self.leaving))
            path = self.fresh()
            self.do(os.rename, self.leaving[at], path)
            self.leaving[at] = path

    def check(self):
        self.same('names', sorted(os.listdir(os.fsencode(self.folder))), sorted([*self.staying, *(os.fsencode(os.path.basename(p)) for p in self.leaving)]))


class Folders(Client):
    """Renames whole folders of the template, with a descriptor open below one of them."""

    def begin(self):
        super().begin()
        self.places = {}  # number of the folder in the template: where it is now
        for number in range(12):
            self.places[number] = f'{self.root}/{self.top}/folders/{number}'
        self.held = None

    def step(self):
        number = self.rng.choice(list(self.places))
        old = self.places[number]
        chance = self.rng.random()
        if chance < 0.2:
            other = self.rng.choice(list(self.places))
            self.do(renameat2, old, self.places[other], RENAME_EXCHANGE)
            self.places[number], self.places[other] = self.places[other], old
        else:
            new = self.fresh()
            if chance > 0.7:
                new = f'{self.root}/{self.top}/folders/back-{self.serial}'
            if chance < 0.35:
                self.do(os.mkdir, new)  # rename(2) takes an empty folder's place
            self.do(os.rename, old, new)
            self.places[number] = new
            self.refused(errno.ENOENT, os.stat, f'{old}/leaf')
        self.look_at(number)
        if self.rng.random() < 0.2:
            self.drop()
            self.held = number, self.do(os.open, f'{self.places[number]}/deeper/leaf', os.O_RDONLY)
        if self.held is not None:
            self.look_at_held()

    def look_at(self, number):
        path = self.places[number]
        self.same(path, sorted(self.do(os.listdir, path)), ['deeper', 'leaf', 'other'])
        self.same_content(f'{path}/leaf', b'leaf of %d\n' % number)
        self.same_content(f'{path}/deeper/leaf', b'deeper leaf of %d\n' % number)

    def look_at_held(self):
        number, fd = self.held
        self.same('the leaf that is held open', self.do(os.pread, fd, 100, 0), b'deeper leaf of %d\n' % number)

    def drop(self):
        if self.held is not None:
            self.do(os.close, self.held[1])
            self.held = None

    def check_open(self):
        if self.held is not None:
            self.look_at_held()

    def close(self):
        self.drop()

    def check(self):
        for number in self.places:
            self.look_at(number)
