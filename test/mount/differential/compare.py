"""Looks at both sides, and says what differs."""
import os
import stat

from syscalls import AT_FDCWD, AT_SYMLINK_NOFOLLOW, statx

LARGE = 200_000
IMPOSSIBLE = 64 << 20  # no operation leaves such a large file


def show(s):
    size = s.st_size if not stat.S_ISDIR(s.st_mode) else 0
    device = s.st_rdev if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode) else 0
    return oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, size, device


def read_all(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        pieces, size = [], 0
        while size < IMPOSSIBLE and (piece := os.read(fd, 4 << 20)):
            pieces.append(piece)
            size += len(piece)
        return b''.join(pieces)
    finally:
        os.close(fd)


def attempt(function, *args, **options):
    try:
        return function(*args, **options)
    except OSError as e:
        return e.errno


class Comparison:
    """Compares by path: `root` and `plain` are entered in turn, then paths are relative."""

    def __init__(self, root, plain, started_ns):
        self.root, self.plain, self.started_ns = root, plain, started_ns
        self.numbers, self.origins = {}, {}

    def _both(self, function, *args, **options):
        self.root.enter()
        a = attempt(function, *args, **options)
        self.plain.enter()
        return a, attempt(function, *args, **options)

    def entry(self, path, content):
        """One file or folder. @returns what differs, or None, and the plain side's status"""
        a, b = self._both(os.lstat, path)
        if isinstance(a, int) or isinstance(b, int):
            return (None if a == b else f'{path!r}: lstat gives {a} on the root, {b} on the plain side'), None
        if show(a) != show(b):
            return f'{path!r}: root {show(a)} plain {show(b)}', b
        if a.st_mtime_ns != b.st_mtime_ns and not (self._is_now(a) and self._is_now(b)) and not stat.S_ISFIFO(b.st_mode):
            return f'{path!r}: mtime of root {a.st_mtime_ns} plain {b.st_mtime_ns}', b
        problem = self._xattrs(path) or (stat.S_ISLNK(b.st_mode) and self._equal(path, 'target', os.readlink, path))
        if not problem and content and stat.S_ISREG(b.st_mode):
            problem = self._content(path)
        return problem or None, b

    def _is_now(self, status):
        return abs(status.st_mtime_ns - self.started_ns) < 10**14  # also if somebody sets the clock meanwhile

    def _equal(self, path, what, function, *args, **options):
        a, b = self._both(function, *args, **options)
        return None if a == b else f'{path!r}: {what} of root {a!r} plain {b!r}'[:2000]

    def _xattrs(self, path):
        def read():
            return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
        return self._equal(path, 'xattrs', read)

    def _content(self, path):
        a, b = self._both(read_all, path)
        if a == b:
            return None
        if isinstance(a, int) or isinstance(b, int):
            return f'{path!r}: reading gives {a!r} on the root, {b!r} on the plain side'[:500]
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        return f'{path!r}: content differs from byte {at}: root {len(a)} bytes …{a[at:at + 16].hex()} plain {len(b)} bytes …{b[at:at + 16].hex()}'

    def listing(self, folder):
        def read():
            return sorted(os.fsencode(name) for name in os.listdir(folder or '.'))
        return self._equal(folder, 'listing', read)

    def touched(self, op, content):
        """What one operation named, and the folders around it."""
        seen = set()
        for path in (op['path'], op['other']) if op['op'] in TWO_PATHS else (op['path'],):
            path = os.path.normpath(path) if '..' not in path else path
            folder = os.path.dirname(path)
            if folder not in seen:
                seen.add(folder)
                problem = self.listing(folder) or self.entry(folder or '.', False)[0]
                if problem:
                    return problem
            problem, status = self.entry(path, False)
            if not problem and content and status is not None and stat.S_ISREG(status.st_mode) and status.st_size < LARGE:
                problem = self._content(path)
            if problem:
                return problem
        return None

    def slot(self, number, content):
        """A file by the descriptor that an operation used: it may have no name any more."""
        a, b = (side.slots.get(number) for side in (self.root, self.plain))
        if a is None or b is None:
            return None
        status, wanted = os.fstat(a.fd), os.fstat(b.fd)
        if show(status) != show(wanted):
            return f'descriptor {number}: root {show(status)} plain {show(wanted)}'
        if content and a.writable and stat.S_ISREG(wanted.st_mode) and wanted.st_size < LARGE:
            got, due = attempt(os.pread, a.fd, LARGE, 0), attempt(os.pread, b.fd, LARGE, 0)
            if got != due:
                return f'descriptor {number}: content differs: root {got[:50]!r}… plain {due[:50]!r}…'
        return None

    def walk(self):
        """Everything, with the identity of inodes: which names are one file, and that inode numbers stay."""
        stack = ['.']
        while stack:
            path = stack.pop()
            problem, status = self.entry(path, True)
            if problem or status is None:
                return problem or f'{path!r} has gone'
            problem = self._identity(path)
            if problem:
                return problem
            if stat.S_ISDIR(status.st_mode):
                problem, names = self._entries(path)
                if problem:
                    return problem
                stack += [f'{path}/{name}' for name in names]
        return None

    def _entries(self, folder):
        def read():
            with os.scandir(folder) as entries:
                return sorted((e.name, e.inode() == os.lstat(f'{folder}/{e.name}').st_ino) for e in entries)
        a, b = self._both(read)
        if a != b:
            return f'{folder!r}: listing (name, whether d_ino is st_ino) of root {a!r} plain {b!r}'[:2000], []
        return None, [name for name, _same in a]

    def _identity(self, path):
        """An inode of the plain side is known by its number and its birth; on roots the number alone must do."""

        (root, root_times), (plain, plain_times) = self._both(statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)
        mine, theirs = (root[6], root_times[1]), (plain[6], plain_times[1])
        if self.numbers.setdefault(theirs, mine) != mine or self.origins.setdefault(mine[0], theirs) != theirs:
            return f'{path!r}: another inode than before: root {mine} (before {self.numbers[theirs]}), plain {theirs} (before {self.origins.get(mine[0])})'
        return None


TWO_PATHS = frozenset(['rename', 'renameflags', 'movetree', 'link', 'linkfollow', 'linkfd'])
