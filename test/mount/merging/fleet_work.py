"""What goes on in a container while it is merged; every step of it looks whether all is as it must be."""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import random
import signal
import sqlite3
import struct
import subprocess
import time

PARTS = ('read', 'mapped', 'written', 'locked', 'committed')
# linux/fcntl.h: locks of an open file description.
F_OFD_GETLK, F_OFD_SETLK = 36, 37
FLOCK = 'hhqqi4x'
LINES = 4_000
PR_SET_PDEATHSIG = 1


def line(number):
    return b'%08d the same in every container until it is changed\n' % number


def prepare(folder):
    """Files that are the same in all containers."""
    os.makedirs(folder)
    for name in ('log', 'mapped', 'replaced', 'posix', 'ofd', 'flock'):
        with open(f'{folder}/{name}', 'wb') as f:
            f.write(b''.join(map(line, range(LINES))))
    for name, mode in (('wal', 'WAL'), ('journal', 'DELETE')):
        database = sqlite3.connect(f'{folder}/{name}.sqlite')
        database.execute(f'PRAGMA journal_mode = {mode}')
        database.execute('CREATE TABLE rows (number INTEGER PRIMARY KEY, value BLOB)')
        with database:
            database.executemany('INSERT INTO rows VALUES (?, ?)', ((number, line(number) * 20) for number in range(500)))
        database.close()


class Work:
    """A process that works in one container until `end`."""

    def __init__(self, root, folder, seed):
        self.root, self.folder = root, root + folder
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status, said = 1, ''
            try:
                # With the one that checks it.
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                os.close(self.reader)
                said = Steps(self.root, self.folder, random.Random(seed)).run()
                status = 0
            except BaseException as error:  # pylint: disable=broad-except
                said = f'{type(error).__name__}: {error}'
            finally:
                os.write(writer, said.encode()[:4000])
                os._exit(status)
        os.close(writer)

    def end(self):
        """@returns how often each part was done @raises RuntimeError for what was wrong"""
        os.kill(self.pid, signal.SIGTERM)
        with os.fdopen(self.reader) as f:
            said = f.read()
        _pid, status = os.waitpid(self.pid, 0)
        if status:
            raise RuntimeError(f'in {self.root}: {said or status}')
        return dict(zip(PARTS, map(int, said.split())))


class Steps:
    def __init__(self, root, folder, rng):
        self.root, self.folder, self.random = root, folder, rng
        self.ended = False
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, 'ended', True))
        files = [os.path.join(top, name) for part in ('/usr/bin', '/usr/lib') for top, _folders, names in os.walk(root + part) for name in names]
        files = sorted(path for path in files if not os.path.islink(path) and 0 < os.path.getsize(path) < 3_000_000)
        self.known = {path: digest(read(path)) for path in rng.sample(files, min(len(files), 150))}
        self.held = {path: os.open(path, os.O_RDONLY) for path in rng.sample(list(self.known), 4)}
        self.maps = {}
        for path in rng.sample(list(self.known), 4):
            with open(path, 'rb') as f:
                self.maps[path] = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
        self.log = bytearray(read(f'{folder}/log'))
        with open(f'{folder}/mapped', 'r+b') as f:
            self.own_map = mmap.mmap(f.fileno(), 0)
        self.own = bytearray(self.own_map[:])
        self.replaced = read(f'{folder}/replaced')
        self.locks = {name: os.open(f'{folder}/{name}', os.O_RDONLY) for name in ('posix', 'ofd', 'flock')}
        fcntl.fcntl(self.locks['posix'], fcntl.F_SETLK, struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 100, 50, 0))
        fcntl.fcntl(self.locks['ofd'], F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 200, 60, 0))
        fcntl.flock(self.locks['flock'], fcntl.LOCK_EX)
        self.databases = [sqlite3.connect(f'{folder}/{name}.sqlite', isolation_level=None, timeout=60) for name in ('wal', 'journal')]
        self.rows = [500, 500]

    def run(self):
        counts = dict.fromkeys(PARTS, 0)
        steps = {'read': self.read, 'mapped': self.look_at_maps, 'written': self.write, 'locked': self.look_at_locks, 'committed': self.commit}
        while not self.ended:
            part = self.random.choice(PARTS)
            steps[part]()
            counts[part] += 1
            time.sleep(self.random.random() * 0.02)
        for part in PARTS:
            steps[part]()
        return ' '.join(str(counts[part]) for part in PARTS)

    def read(self):
        path = self.random.choice(list(self.known))
        expect(digest(read(path)), self.known[path], f'{path} read anew')
        path, fd = self.random.choice(list(self.held.items()))
        expect(digest(os.pread(fd, 4_000_000, 0)), self.known[path], f'{path} read by a descriptor from before')
        if self.random.random() < 0.03:
            said = subprocess.run(['chroot', self.root, '/usr/bin/perl', '-e', 'print 6*7'], capture_output=True, check=False)
            expect((said.returncode, said.stdout), (0, b'42'), f'perl in {self.root}: {said.stderr}')

    def look_at_maps(self):
        path, memory = self.random.choice(list(self.maps.items()))
        expect(digest(memory[:]), self.known[path], f'{path} through a mapping from before')
        at = self.random.randrange(len(self.own) - 8)
        piece = self.random.randbytes(8)
        self.own_map[at:at + 8] = self.own[at:at + 8] = piece
        expect(read(f'{self.folder}/mapped'), bytes(self.own), 'a file that is stored to through a mapping')

    def write(self):
        with open(f'{self.folder}/log', 'r+b') as f:
            piece = line(self.random.randrange(1 << 20))
            at = self.random.choice((len(self.log), self.random.randrange(len(self.log))))
            f.seek(at)
            f.write(piece)
            self.log[at:at + len(piece)] = piece
            if self.random.random() < 0.1:
                f.flush()
                os.fsync(f.fileno())
        expect(read(f'{self.folder}/log'), bytes(self.log), 'a log')
        expect(read(f'{self.folder}/replaced'), self.replaced, 'a file that is replaced again and again')
        # The same that the others write: it may be merged before it is replaced.
        self.replaced = b''.join(map(line, range(self.random.randrange(3), LINES)))
        with open(f'{self.folder}/replaced.new', 'wb') as f:
            f.write(self.replaced)
        os.rename(f'{self.folder}/replaced.new', f'{self.folder}/replaced')

    def look_at_locks(self):
        """As another process sees them: an open file of its own shows locks of others only."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.write(writer, self.locks_of_others().encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as f:
            said = f.read()
        os.waitpid(pid, 0)
        # A lock of an open file description has no process.
        expect(said, f'read 100 50 {os.getpid()}, read 200 60 -1, held', 'locks as another process sees them')

    def locks_of_others(self):
        found = []
        for name, command in (('posix', fcntl.F_GETLK), ('ofd', F_OFD_GETLK)):
            fd = os.open(f'{self.folder}/{name}', os.O_RDONLY)
            kind, _whence, start, length, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, command, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)))
            found.append(f'{ {fcntl.F_RDLCK: "read", fcntl.F_WRLCK: "write"}.get(kind, "none")} {start} {length} {pid}')
        fd = os.open(f'{self.folder}/flock', os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found.append('free')
        except OSError as error:
            found.append('held' if error.errno == errno.EWOULDBLOCK else str(error))
        return ', '.join(found)

    def commit(self):
        which = self.random.randrange(len(self.databases))
        database = self.databases[which]
        first = self.rows[which]
        with_rows = [(number, line(number) * 20) for number in range(first, first + self.random.randrange(1, 4))]
        database.execute('BEGIN')
        database.executemany('INSERT INTO rows VALUES (?, ?)', with_rows)
        database.execute('UPDATE rows SET value = value WHERE number = ?', (self.random.randrange(first),))
        database.execute('COMMIT')
        self.rows[which] += len(with_rows)
        if self.random.random() < 0.1:
            expect(database.execute('PRAGMA integrity_check').fetchone(), ('ok',), 'a database')
        number = self.random.randrange(self.rows[which])
        expect(database.execute('SELECT count(*) FROM rows').fetchone(), (self.rows[which],), 'rows of a database')
        expect(database.execute('SELECT value FROM rows WHERE number = ?', (number,)).fetchone(), (line(number) * 20,), 'a row of a database')


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def digest(content):
    return hashlib.md5(content).hexdigest()


def expect(found, wanted, what):
    if found != wanted:
        raise RuntimeError(f'{what}: found {found!r:.300}, and not {wanted!r:.300}')
