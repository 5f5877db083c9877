"""Clients that write and read content, and compare it with a copy in memory."""
import mmap
import os
import stat

from client import Client
from soak_template import COPIES, copy_content
from syscalls import AT_FDCWD, AT_SYMLINK_FOLLOW, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate, linkat

LIMIT = 1_800_000  # bytes of a file


class Bytes(Client):
    """As fsx: writes, truncates, maps, punches and copies at random, in new files and in those of the template."""

    def begin(self):
        super().begin()
        self.files = []  # [path, content, descriptor or None]
        for name in ('blocks/big', 'blocks/edge', 'blocks/sparse', 'a/f3', 'b/sparse'):
            path = f'{self.root}/{self.top}/{name}'
            with open(path, 'rb') as f:
                self.files.append([path, bytearray(f.read()), None])
        for _ in range(4):
            path = self.fresh()
            self.put(path, b'')
            self.files.append([path, bytearray(), None])

    def step(self):
        file = self.rng.choice(self.files)
        path, content, fd = file
        if fd is None:
            file[2] = fd = self.do(os.open, path, os.O_RDWR | self.rng.choice([0, 0, os.O_APPEND]))
        elif self.rng.random() < 0.15:
            self.do(os.close, fd)
            file[2] = None
            return self.same_content(path, content)
        return self.rng.choice([self.write, self.write, self.write, self.read, self.read, self.append, self.truncate, self.map, self.map, self.punch, self.copy, self.sync])(path, content, fd)

    def span(self, content, largest=70_000):
        at = self.rng.randrange(min(len(content) + 5000, LIMIT))
        return at, min(self.rng.choice([1, 100, 4096, 9000, largest]), LIMIT - at)

    def put_in(self, content, at, data):
        if at > len(content):
            content.extend(bytes(at - len(content)))
        content[at:at + len(data)] = data

    def write(self, path, content, _fd):
        at, size = self.span(content)
        data = self.rng.randbytes(size)
        fd = self.do(os.open, path, os.O_WRONLY)
        self.write_all(fd, data, at)
        self.do(os.close, fd)
        self.put_in(content, at, data)
        self.same(f'size of {path}', self.do(os.stat, path).st_size, len(content))

    def append(self, path, content, _fd):
        data = self.rng.randbytes(self.rng.choice([1, 500, 9000]))
        if len(content) + len(data) > LIMIT:
            return
        fd = self.do(os.open, path, os.O_WRONLY | os.O_APPEND)
        self.same('bytes appended', self.do(os.write, fd, data), len(data))
        self.do(os.close, fd)
        content.extend(data)

    def read(self, path, content, fd):
        at, size = self.span(content)
        self.same(f'{path} from {at}', self.do(os.pread, fd, size, at), bytes(content[at:at + size]))

    def truncate(self, path, content, fd):
        size = self.rng.choice([len(content) + 1000, self.rng.randrange(len(content) + 1), len(content) // 4096 * 4096])
        if size > LIMIT:
            return
        if self.rng.random() < 0.5:
            self.do(os.truncate, path, size)
        else:
            self.do(os.ftruncate, fd, size)
        del content[size:]
        content.extend(bytes(size - len(content)))
        self.same(f'size of {path}', self.do(os.fstat, fd).st_size, size)

    def map(self, path, content, fd):
        if not content:
            return
        with mmap.mmap(fd, len(content)) as mapped:
            self.board.operations += 1
            at, size = self.span(content)
            at = min(at, len(content) - 1)
            size = min(size, len(content) - at)
            self.same(f'{path} mapped', mapped[at:at + size], bytes(content[at:at + size]))
            data = self.rng.randbytes(size)
            mapped[at:at + size] = data
            content[at:at + size] = data
            self.same(f'{path} stored to at {at}', self.do(os.pread, fd, size, at), data)

    def punch(self, _path, content, fd):
        at, size = self.span(content)
        if at >= len(content):
            return
        mode = self.rng.choice([FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, 0])
        self.do(fallocate, fd, mode | FALLOC_KEEP_SIZE, at, size)
        if mode:
            size = min(size, len(content) - at)
            content[at:at + size] = bytes(size)

    def copy(self, path, content, _fd):
        other = self.rng.choice(self.files)
        if other[0] == path or not other[1]:
            return
        at, size = self.span(content, 200_000)
        start = self.rng.randrange(len(other[1]))
        source = self.do(os.open, other[0], os.O_RDONLY)
        target = self.do(os.open, path, os.O_WRONLY)
        copied = self.do(os.copy_file_range, source, target, size, start, at)
        self.do(os.close, source)
        self.do(os.close, target)
        self.put_in(content, at, other[1][start:start + copied])

    def sync(self, _path, _content, fd):
        self.do(self.rng.choice([os.fsync, os.fdatasync]), fd)

    def check_open(self):
        for path, content, fd in self.files:
            if fd is not None:
                self.same(f'{path}, open', self.read_all(fd, len(content)), bytes(content))

    def close(self):
        for file in self.files:
            if file[2] is not None:
                self.do(os.close, file[2])

    def check(self):
        for path, content, _fd in self.files:
            self.same_content(path, content)


class Copies(Client):
    """Makes large files of the template its own, in each way there is."""

    pace = 0.3

    def begin(self):
        self.left = [f'{self.root}/{self.top}/copies/{number}' for number in range(COPIES)]
        self.rng.shuffle(self.left)
        self.files = {}
        self.shared = self.top == 'usr' and self.passthrough

    def step(self):
        if not self.left:
            path = self.rng.choice(list(self.files))
            return self.same_content(path, self.files[path])
        path, content = self.left.pop(), bytearray(copy_content())
        reader = self.do(os.open, path, os.O_RDONLY) if self.rng.random() < 0.4 else None
        before = bytes(content)
        ways = [self.write, self.by_link, self.renamed, self.mapped]
        if reader is None or not self.shared:
            # Below a shared path it is not said how much an old descriptor shows of a file that has another size now.
            ways += [self.append, self.truncate, self.emptied]
        path = self.rng.choice(ways)(path, content)
        self.files[path] = content
        self.same_content(path, content)
        if reader is not None:
            # docs/architecture.md, "Who sees a change": below a shared path an old descriptor keeps the old bytes.
            self.same(f'{path}, opened before', self.read_all(reader, len(content)), before if self.shared else bytes(content))
            self.do(os.close, reader)
        return None

    def change(self, fd, content):
        for _ in range(3):
            at = self.rng.randrange(len(content) - 9000)
            data = self.rng.randbytes(self.rng.choice([1, 300, 9000]))
            self.write_all(fd, data, at)
            content[at:at + len(data)] = data

    def write(self, path, content):
        fd = self.do(os.open, path, os.O_RDWR)
        self.change(fd, content)
        self.same(f'{path}, still open', self.read_all(fd, len(content)), bytes(content))
        self.do(os.close, fd)
        return path

    def append(self, path, content):
        fd = self.do(os.open, path, os.O_WRONLY | os.O_APPEND)
        self.same('bytes appended', self.do(os.write, fd, b'appended'), 8)
        self.do(os.close, fd)
        content.extend(b'appended')
        return path

    def truncate(self, path, content):
        size = self.rng.randrange(len(content) + 100_000)
        self.do(os.truncate, path, size)
        del content[size:]
        content.extend(bytes(size - len(content)))
        return path

    def by_link(self, path, content):
        other = f'{path}-link'
        self.do(os.link, path, other)
        self.write(other, content)
        self.same_content(path, content)
        self.same(f'links of {path}', self.do(os.stat, path).st_nlink, 2)
        return other

    def renamed(self, path, content):
        self.do(os.chmod, path, 0o600)
        self.do(os.rename, path, f'{path}-renamed')
        self.write(f'{path}-renamed', content)
        self.same(f'mode of {path}-renamed', stat.S_IMODE(self.do(os.stat, f'{path}-renamed').st_mode), 0o600)
        return f'{path}-renamed'

    def mapped(self, path, content):
        fd = self.do(os.open, path, os.O_RDWR)
        with mmap.mmap(fd, len(content)) as stores:
            self.do(os.close, fd)
            for _ in range(20):
                at = self.rng.randrange(len(content) - 10)
                stores[at:at + 10] = content[at:at + 10] = self.rng.randbytes(10)
        return path

    def emptied(self, path, content):
        fd = self.do(os.open, path, os.O_WRONLY | os.O_TRUNC)
        self.write_all(fd, b'new', 0)
        self.do(os.close, fd)
        content[:] = b'new'
        return path

    def check(self):
        for path, content in self.files.items():
            self.same_content(path, content)
        for path in self.left:
            self.same_content(path, copy_content())


class Unlinked(Client):
    """Keeps files that have no name any more, or never had one."""

    def begin(self):
        super().begin()
        self.open = []  # [descriptor, content]
        self.kept = {}  # path of a file that got a name later: content
        self.folders = []

    def step(self):
        if len(self.open) < 12:
            return self.rng.choice([self.unlink, self.unlink, self.replace, self.nameless, self.nameless, self.unlink_template])()
        entry = self.rng.choice(self.open)
        return self.rng.choice([self.use, self.use, self.use, self.use, self.end, self.give_name, self.removed_folder])(entry)

    def unlink(self):
        path, data = self.fresh(), self.rng.randbytes(self.rng.choice([0, 5000, 70_000]))
        self.put(path, data)
        fd = self.do(os.open, path, os.O_RDWR)
        self.do(os.unlink, path)
        self.open.append([fd, bytearray(data)])

    def unlink_template(self):
        """One that nobody has written to yet, if there is one left."""
        self.serial += 1
        path = f'{self.root}/{self.top}/own{self.serial % 5}/{self.rng.choice("ab")}/f{self.rng.randrange(4)}'
        if not os.path.exists(path):
            return self.unlink()
        fd = self.do(os.open, path, self.rng.choice([os.O_RDONLY, os.O_RDWR]))
        data = self.read_all(fd, 0)
        self.do(os.unlink, path)
        return self.open.append([fd, bytearray(data)])

    def replace(self):
        path, other = self.fresh(), self.fresh()
        self.put(path, b'replaced')
        self.put(other, b'replacing')
        fd = self.do(os.open, path, os.O_RDWR)
        self.do(os.rename, other, path)
        self.open.append([fd, bytearray(b'replaced')])
        self.same_content(path, b'replacing')
        self.do(os.unlink, path)

    def nameless(self):
        fd = self.do(os.open, self.folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        self.open.append([fd, bytearray()])

    def use(self, entry):
        fd, content = entry
        found = self.do(os.fstat, fd)
        self.same('links and size', (found.st_nlink, found.st_size), (0, len(content)))
        self.same('content', self.read_all(fd, len(content)), bytes(content))
        try:
            data = self.rng.randbytes(100)
            at = self.rng.randrange(len(content) + 1)
            self.write_all(fd, data, at)
            content[at:at + 100] = data
        except OSError as error:
            self.same('the errno of a write', error.errno, 9)  # EBADF: it was opened for reading

    def end(self, entry):
        self.open.remove(entry)
        self.do(os.close, entry[0])

    def give_name(self, entry):
        """Only what O_TMPFILE made can get a name: a file whose last name is gone cannot."""
        fd = self.do(os.open, self.folder, os.O_TMPFILE | os.O_RDWR, 0o640)
        data = self.rng.randbytes(3000)
        self.write_all(fd, data, 0)
        path = self.fresh()
        self.do(linkat, AT_FDCWD, f'/proc/self/fd/{fd}', path, AT_SYMLINK_FOLLOW)
        self.same(f'links of {path}', self.do(os.fstat, fd).st_nlink, 1)
        self.do(os.close, fd)
        self.kept[path] = data
        self.use(entry)

    def removed_folder(self, _entry):
        """A current folder that was removed."""
        path = self.fresh()
        self.do(os.mkdir, path)
        fd = self.do(os.open, path, os.O_RDONLY | os.O_DIRECTORY)
        self.do(os.rmdir, path)
        self.same('a removed folder', self.do(os.listdir, fd), [])
        self.same('its links', self.do(os.fstat, fd).st_nlink, 0)
        self.do(os.close, fd)

    def check_open(self):
        for entry in self.open:
            self.use(entry)

    def close(self):
        for fd, _content in self.open:
            self.do(os.close, fd)

    def check(self):
        self.same('names', sorted(os.listdir(self.folder)), sorted(os.path.basename(path) for path in self.kept))
        for path, data in self.kept.items():
            self.same_content(path, data)
