"""Clients that work together on one file: each sees at once what the other did."""
import errno
import fcntl
import mmap
import os
import sqlite3
import struct

from client import Client, Wrong

SIZE = 64 * 1024


class Maps(Client):
    """Two processes map one file, new or of the template, and read by pread(2), by mapping and anew what the other stored."""

    pace = 0.004

    def begin(self):
        super().begin()
        self.path = self.fresh()
        if self.number % 2:
            self.path = f'{self.root}/{self.top}/blocks/hole'
        else:
            self.put(self.path, bytes(SIZE))
        to_other, from_other = os.pipe(), os.pipe()
        fd = os.open(self.path, os.O_RDWR)
        if os.fork() == 0:
            os.close(to_other[1])  # its end is the other's end
            self._other(to_other[0], from_other[1])
        os.close(to_other[0])
        os.close(from_other[1])
        self.pipes = from_other[0], to_other[1]
        self.fd = fd
        self.map = mmap.mmap(fd, SIZE)
        self.turn = 0

    def _other(self, reader, writer):
        """Waits for (at, stamp, how), checks that the stamp is there, and stores the next one."""
        try:
            fd = os.open(self.path, os.O_RDWR)
            mapped = mmap.mmap(fd, SIZE)
            while message := os.read(reader, 24):
                at, stamp = struct.unpack('<QQ', message[:16])
                wanted = struct.pack('<Q', stamp)
                again = os.open(self.path, os.O_RDONLY)
                found = [mapped[at:at + 8], os.pread(fd, 8, at), os.pread(again, 8, at)]
                os.close(again)
                if found != [wanted] * 3:
                    raise Wrong(f'the other process stored {wanted} at {at}, found were {found}')
                if stamp % 2:
                    mapped[at:at + 8] = struct.pack('<Q', stamp + 1)
                else:
                    os.pwrite(fd, struct.pack('<Q', stamp + 1), at)
                os.write(writer, b'+')
        except BaseException as error:
            os.write(writer, repr(error).encode()[:4000])
        finally:
            os._exit(0)

    def step(self):
        self.turn += 1
        at = self.turn * 4099 % (SIZE - 8)
        stamp = self.turn * 2 + self.rng.randrange(2)
        if self.rng.random() < 0.6:
            self.map[at:at + 8] = struct.pack('<Q', stamp)
        else:
            self.write_all(self.fd, struct.pack('<Q', stamp), at)
        os.write(self.pipes[1], struct.pack('<QQQ', at, stamp, 0))
        self.same('what the other process found', os.read(self.pipes[0], 4096), b'+')
        self.board.operations += 5
        wanted = struct.pack('<Q', stamp + 1)
        self.same('the other process\'s store', [self.map[at:at + 8], self.do(os.pread, self.fd, 8, at)], [wanted, wanted])

    def close(self):
        self.content = bytes(self.map)
        for pipe in self.pipes:
            os.close(pipe)
        os.wait()
        self.map.close()
        os.close(self.fd)

    def check(self):
        if hasattr(self, 'content'):
            with open(self.path, 'rb') as f:
                self.same(self.path, f.read(SIZE), self.content)


class Locks(Client):
    """Several of them count in one file under a lock; the first holds another lock from the start to the end."""

    def begin(self):
        self.folder = f'{self.root}/{self.top}'
        self.counter = os.open(f'{self.folder}/counter', os.O_RDWR | os.O_CREAT, 0o644)
        self.mine = os.open(f'{self.folder}/counted-by-{self.number}', os.O_RDWR | os.O_CREAT, 0o644)
        self.held = os.open(f'{self.folder}/held-by-{self.number}', os.O_RDWR | os.O_CREAT, 0o644)
        self.count = 0
        self.lock = self.rng.choice([fcntl.flock, fcntl.lockf])
        self.lock(self.held, fcntl.LOCK_EX)

    def step(self):
        # All wait for both kinds in one order, and then hold only one of them: either alone must keep the others out.
        self.wait(fcntl.lockf, self.counter, fcntl.LOCK_EX)
        self.wait(fcntl.flock, self.counter, fcntl.LOCK_EX)
        kept, given_back = self.rng.sample([fcntl.flock, fcntl.lockf], 2)
        self.wait(given_back, self.counter, fcntl.LOCK_UN)
        found = int(self.do(os.pread, self.counter, 20, 0) or b'0')
        self.do(os.fstat, self.counter)
        self.write_all(self.counter, b'%20d' % (found + 1), 0)
        self.count += 1
        self.write_all(self.mine, b'%20d' % self.count, 0)
        self.wait(kept, self.counter, fcntl.LOCK_UN)
        if self.count % 10 == 0:
            self.try_held()

    def try_held(self):
        """The lock that a client holds, asked for by a process of its own: it must be refused."""
        pid = os.fork()
        if pid == 0:
            try:
                fd = os.open(f'{self.folder}/held-by-{self.number}', os.O_RDWR)
                self.lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os._exit(1)
            except OSError as error:
                os._exit(0 if error.errno in (errno.EAGAIN, errno.EACCES) else 2)
        self.board.operations += 2
        self.same('a lock that is held was refused to others (0), given (1)', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def check_open(self):
        self.try_held()

    def close(self):
        for fd in (self.counter, self.mine, self.held):
            os.close(fd)
        self.closed = True

    def check(self):
        # The others may still count before all have stopped.
        if not hasattr(self, 'closed'):
            return
        counts = [int(open(f'{self.folder}/{name}').read() or 0) for name in os.listdir(self.folder) if name.startswith('counted-by-')]
        self.same('what all have counted', int(open(f'{self.folder}/counter').read()), sum(counts))


class Sqlite(Client):
    """Transactions of two connections; an even number writes ahead (WAL), an odd one keeps a rollback journal."""

    pace = 0.01
    ACCOUNTS = 100

    def begin(self):
        super().begin()
        self.path = f'{self.folder}/database'
        self.one, self.other = self._connect(), None
        self.one.execute(f'PRAGMA journal_mode = {["WAL", "DELETE"][self.number % 2]}')
        self.one.execute('CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER, note BLOB)')
        self.one.executemany('INSERT INTO account VALUES (?, 1000, ?)', ((i, bytes(500)) for i in range(self.ACCOUNTS)))
        self.other = self._connect()
        self.done = 0
        self.notes = {}

    def _connect(self):
        database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        database.execute('PRAGMA synchronous = NORMAL')
        database.execute('PRAGMA wal_autocheckpoint = 50')
        return database

    def step(self):
        source, target = self.rng.sample(range(self.ACCOUNTS), 2)
        database = self.rng.choice([self.one, self.other])
        note = self.rng.randbytes(self.rng.choice([10, 800, 5000]))
        self.wait(database.execute, 'BEGIN IMMEDIATE')
        self.wait(database.execute, 'UPDATE account SET money = money - 5 WHERE id = ?', (source,))
        self.wait(database.execute, 'UPDATE account SET money = money + 5, note = ? WHERE id = ?', (note, target))
        if self.rng.random() < 0.1:
            self.wait(database.execute, 'ROLLBACK')
        else:
            self.wait(database.execute, 'COMMIT')
            self.notes[target] = note
        self.same('the sum', self.wait(self.other.execute, 'SELECT sum(money) FROM account').fetchone(), (1000 * self.ACCOUNTS,))
        self.same('a note', self.wait(self.other.execute, 'SELECT note FROM account WHERE id = ?', (target,)).fetchone(), (self.notes.get(target, bytes(500)),))

    def close(self):
        self.one.close()
        self.other.close()

    def check(self):
        database = self._connect()
        self.same('integrity_check', database.execute('PRAGMA integrity_check').fetchall(), [('ok',)])
        found = dict(database.execute('SELECT id, note FROM account'))
        self.same('the notes', found, {i: self.notes.get(i, bytes(500)) for i in range(self.ACCOUNTS)})
        database.close()


class Probe(Client):
    """Asks the engine something all the time, so that each kill meets a request."""

    pace = 0.0006

    def begin(self):
        super().begin()
        self.put(f'{self.folder}/file', b'probe')

    def step(self):
        fd = self.do(os.open, f'{self.folder}/file', os.O_RDONLY)
        self.do(os.close, fd)
        if self.rng.random() < 0.1:
            self.refused(errno.ENOENT, os.stat, self.fresh())

    def check(self):
        self.same_content(f'{self.folder}/file', b'probe')
