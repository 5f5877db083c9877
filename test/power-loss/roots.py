"""One cut while a container works: random operations, or SQLite transactions, on a mounted root."""
import mmap
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import time

from engine import EngineRoot
from model import check, initial, walk
from operations import apply, draw, is_of_the_cut, perform
from syscalls import die_with_parent
from template import TOPS, row

MOUNT_OPTIONS = ([], [], ['--whole-copy-limit', '0'], ['--no-passthrough'], ['--whole-copy-limit', '0', '--no-passthrough'])
OPERATIONS = 70
END_WAIT_S = 60


class Failed(Exception):
    """Something was lost, torn or refused."""


def said_until_end(process, name, wait_s):
    """What a command whose file system has been cut off says on stderr. It has to end by itself."""
    try:
        _out, err = process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise Failed(f'{name}: the command hangs after the cut') from error
    return err


class Log:
    """What the working process was told, kept on another file system. Records are written in one piece each."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

    def put(self, *record):
        os.write(self.fd, pickle.dumps(record))

    def read(self):
        os.close(self.fd)
        records = []
        with open(self.path, 'rb') as f:
            while True:
                try:
                    records.append(pickle.load(f))
                except EOFError:
                    return records


def forked(work):
    """Runs `work` in a process that dies with this one. @returns its pid"""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            die_with_parent(signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work()
            status = 0
        except BaseException as error:  # pylint: disable=broad-except
            os.write(2, f'{type(error).__name__}: {error}\n'.encode())
        finally:
            os._exit(status)
    return pid


def wait_for(pid, what):
    deadline = time.monotonic() + END_WAIT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise Failed(f'{what} hangs')


def start_cutter(volume, how, delay_s):
    """A process that cuts so long after it was told to.

    @returns its pid, the pipe to tell it by, and a byte that is set just before: what ends later was not told to anybody in time. (XFS
    answers an fsync(2) of a folder with success when it has just been shut down.)
    """
    reader, writer = os.pipe()
    cutting = mmap.mmap(-1, 1)
    fd = os.open(volume.place, os.O_RDONLY | os.O_DIRECTORY)

    def work():
        os.close(writer)
        os.read(reader, 1)
        time.sleep(delay_s)
        cutting[0] = 1
        volume.cut(how, fd)
    pid = forked(work)
    os.close(reader)
    os.close(fd)
    return pid, writer, cutting


def start_noise(volume, rng, container='c'):
    """What goes on beside: commits of the journal, and data written back before its metadata or after."""
    seed = rng.random()
    interval_s = rng.choice([0.001, 0.004, 0.02])

    def work():
        own = random.Random(seed)
        try:
            fd = os.open(f'{volume.place}/noise', os.O_RDWR | os.O_CREAT)
        except OSError:
            return
        while True:
            time.sleep(own.random() * interval_s)
            try:
                if own.random() < 0.75:
                    os.write(fd, b'x')
                    os.fsync(fd)
                else:
                    write_back(volume, own, container)
            except OSError:
                return
    return forked(work)


def write_back(volume, rng, container):
    """Starts to write the data of some private files, without their metadata."""
    files = [os.path.join(folder, name) for folder, _folders, names in os.walk(f'{volume.place}/store/private/{container}') for name in names]
    for path in rng.sample(files, min(len(files), 3)):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        # POSIX_FADV_DONTNEED starts writing what is dirty.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def work_randomly(base, model, rng, log, cut_at, tell, cutting, count):
    planned = []
    for number in range(1, count + 1):
        op = draw(rng, model, number, planned)
        if number == cut_at:
            os.write(tell, b'x')
        log.put('begin', number, op)
        try:
            result = perform(base, model, number, op)
        except OSError as error:
            log.put('error', number, error.errno, is_of_the_cut(error))
            return
        if cutting[0]:
            return
        log.put('end', number, result)
        apply(model, number, op, result)


def work_with_sqlite(base, name, mode, log, cut_at, tell, cutting):
    database = sqlite3.connect(f'{base}/{name}', isolation_level=None)
    try:
        database.execute(f'PRAGMA journal_mode = {mode}')
        # FULL does not make the end of a journal durable: a commit could be lost on any file system.
        database.execute('PRAGMA synchronous = EXTRA')
        database.execute('CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, value BLOB)')
        first = database.execute('SELECT coalesce(max(number), 0) FROM rows').fetchone()[0] + 1
        for turn in range(40):
            if turn == cut_at % 40:
                os.write(tell, b'x')
            numbers = range(first + 3 * turn, first + 3 * turn + 3)
            log.put('begin', numbers[-1])
            database.execute('BEGIN')
            database.executemany('INSERT INTO rows VALUES (?, ?)', ((n, row(n)) for n in numbers))
            database.execute('COMMIT')
            if cutting[0]:
                return
            log.put('end', numbers[-1])
    except sqlite3.Error as error:
        log.put('error', str(error))


class RootCut:
    """The parts of one run; `execute` returns None or raises Failed."""

    def __init__(self, job, seed):
        self.job, self.seed = job, seed
        self.rng = random.Random(seed)
        self.options = self.rng.choice(MOUNT_OPTIONS)
        self.how = self.rng.choice(['lose-log', 'lose-log', 'flush-log'])
        self.sqlite = self.rng.random() < 0.15
        self.unmount = not self.sqlite and self.rng.random() < 0.1
        self.model = self.new_model()
        self.tolerant, self.running = {}, None

    def new_model(self):
        model = initial(self.job.untouched)
        model.recent, model.objects = None, self.job.objects
        return model

    def execute(self):
        volume = self.job.fresh_volume()
        rng = self.rng
        engine = EngineRoot(self.job, volume, self.options)
        engine.mount()
        log = Log(self.job.path('log'))
        cut_at = rng.randint(1, OPERATIONS)
        delay_s = rng.choice([0, rng.random() * 0.0005, rng.random() * 0.003, rng.random() * 0.01])
        noise = start_noise(volume, rng)
        cutter, tell, cutting = start_cutter(volume, self.how, delay_s)
        if self.sqlite:
            self.database = rng.choice([*(f'{top}/rows.sqlite' for top in TOPS), *(f'{top}/new.sqlite' for top in TOPS)])
            self.journal = rng.choice(['DELETE', 'TRUNCATE', 'PERSIST', 'WAL'])
            worker = forked(lambda: work_with_sqlite(engine.path, self.database, self.journal, log, cut_at, tell, cutting))
        else:
            count = cut_at if self.unmount else OPERATIONS * 10
            worker = forked(lambda: work_randomly(engine.path, self.model, rng, log, 0 if self.unmount else cut_at, tell, cutting, count))
        try:
            status = wait_for(worker, 'what works on the root')
            # A store into a mapping whose page cannot be had any more.
            if status not in (0, signal.SIGBUS):
                raise Failed(f'what worked on the root ended with status {status}')
            if self.unmount:
                self.job.cli(volume, 'umount', 'c')
                engine.pids = []
                os.write(tell, b'x')
            else:
                tell_if_open(tell)
            wait_for(cutter, 'the cut')
        finally:
            end(noise)
            os.close(tell)
            engine.kill()
            volume.umount()
        self.replay(log)
        self.look(volume)

    def replay(self, log):
        """What the log says was done is done to the model."""
        self.records = log.read()
        if self.sqlite:
            return
        begun = {}
        for record in self.records:
            match record:
                case ('begin', number, op):
                    begun[number] = op
                    self.running = number
                case ('end', number, result):
                    self.tolerant[number] = apply(self.model, number, begun[number], result)
                    self.running = None
                case ('error', number, code, of_the_cut):
                    if not of_the_cut:
                        raise Failed(f'operation {number} {begun[number]}: {os.strerror(code)}')
        if self.running is not None:
            # It may have been done, but nothing that it was to make durable was said to be.
            op = begun[self.running]
            durable = self.model.durable, {inode.number: (list(inode.durable), inode.size_durable) for inode in self.model.inodes}
            self.tolerant[self.running] = apply(self.model, self.running, op, {})
            self.model.durable = durable[0]
            for inode in self.model.inodes:
                inode.durable, inode.size_durable = durable[1].get(inode.number, ([], inode.made - 1))
        if self.unmount:
            last = len(self.model.history) - 1
            self.model.durable = last
            for inode in self.model.inodes:
                inode.durable.append((last, 0, 1 << 62))
                inode.size_durable = last

    def look(self, volume):
        times = 2 if self.rng.random() < 0.2 else 1
        for turn in range(times):
            self.job.reboot()
            volume.mount()
            engine = EngineRoot(self.job, volume, self.rng.choice(MOUNT_OPTIONS))
            try:
                engine.mount()
                found = self.check_root(engine.path)
                if turn + 1 < times:
                    # The power goes again while what the first cut left was put right.
                    if self.rng.random() < 0.5:
                        with open(f'{volume.place}/noise', 'wb') as f:
                            f.write(b'y')
                            f.flush()
                            os.fsync(f.fileno())
                    volume.cut(self.how)
                    continue
                self.go_on(engine, found)
                engine.umount()
                if self.rng.random() < 0.25:
                    self.job.verify(volume)
            finally:
                engine.kill()
                volume.umount()

    def check_root(self, base):
        found = walk(base)
        if self.sqlite:
            self.check_database(f'{base}/{self.database}')
            return found
        wrong = check(self.model, found, self.tolerant)
        if wrong:
            raise Failed(f'{wrong}\n  {self.story()}')
        return found

    def story(self):
        """The last operations, as they were done."""
        begun = [(number, op) for kind, number, op, *_rest in (record for record in self.records if record[0] == 'begin')]
        lines = [f'{number}{" (running)" if number == self.running else ""} {op}' for number, op in begun[-400:]]
        return f'engine {self.options}, cut {self.how}\n  ' + '\n  '.join(lines)

    def check_database(self, path):
        kept = max((number for kind, number in self.records if kind == 'end'), default=0)
        begun = max((number for kind, number in self.records if kind == 'begin'), default=0)
        template = 100 if path.endswith('rows.sqlite') else 0
        if not os.path.exists(path):
            if kept or template:
                raise Failed(f'{path} is gone')
            return
        database = sqlite3.connect(path)
        try:
            said = database.execute('PRAGMA integrity_check').fetchone()[0]
            if said != 'ok':
                raise Failed(f'{path}: {said}')
            rows = database.execute('SELECT number, value FROM rows ORDER BY number').fetchall()
        except sqlite3.Error as error:
            if kept == 0 and template == 0:
                return
            raise Failed(f'{path}: {error}') from error
        finally:
            database.close()
        if not max(kept, template) <= len(rows) <= max(begun, template):
            raise Failed(f'{path}: {len(rows)} rows; {kept} were committed, {begun} begun; journal mode {self.journal}, engine {self.options}, cut {self.how}')
        for at, (number, value) in enumerate(rows, 1):
            if number != at or value != row(at):
                raise Failed(f'{path}: row {at} is broken')

    def go_on(self, engine, found):
        """The container goes on working: with names and numbers that nothing else has."""
        base = engine.path
        inos = {status.st_ino for _entry, status, _data in found.values()}
        for top in TOPS:
            made = []
            for i in range(3):
                path = f'{base}/{top}/after{i}'
                with open(path, 'wb') as f:
                    f.write(b'after the cut')
                    os.fsync(f.fileno())
                made.append(path)
                ino = os.stat(path).st_ino
                if ino in inos:
                    raise Failed(f'a new file has the inode number {ino} of another')
                inos.add(ino)
            os.rename(made[0], f'{base}/{top}/after-renamed')
        for path, (_entry, _status, data) in found.items():
            if data is None or '.sqlite' in path or not path.startswith(TOPS):
                continue
            with open(f'{base}/{path}', 'r+b') as f:
                f.seek(0, 2)
                f.write(b'more')
            with open(f'{base}/{path}', 'rb') as f:
                if len(now := f.read()) < len(data) + 4 or not now.startswith(data):
                    raise Failed(f'{path}: what it held changed when something was appended')


def tell_if_open(tell):
    try:
        os.write(tell, b'x')
    except BrokenPipeError:
        pass


def end(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
