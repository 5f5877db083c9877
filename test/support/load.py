#!/usr/bin/env python3
"""A load that knows what every byte must be: load.py ROOT [THREADS]

Threads write, read, rename, link, truncate and list below ROOT/data and ROOT/usr/lib, each in files of its own, and
compare everything that they read with a copy in memory. One more holds descriptors, an unlinked file, locks and mappings
from before the start to the end. It stops when stdin is closed; then it checks everything again, prints one JSON
line {"operations", "errors", "wrong"} and ends.
"""
import fcntl
import json
import mmap
import os
import random
import sys
import threading
import time
import traceback

root = sys.argv[1]
threads = int(sys.argv[2]) if len(sys.argv) > 2 else 4
stop = threading.Event()
errors, wrong, operations = [], [], [0] * (threads + 1)


def expect(what, found, wanted):
    if found != wanted:
        at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted))) if isinstance(found, bytes) else ''
        wrong.append(f'{what}: found {repr(found)[:80]} ({len(found) if isinstance(found, bytes) else ""}), wanted {repr(wanted)[:80]}, first difference at {at}')


class Worker:
    """Files of one thread, and what they must hold."""

    def __init__(self, number):
        self.number = number
        self.rng = random.Random(number)
        self.base = os.path.join(root, ['data', 'usr/lib'][number % 2], f'load-{number}')
        os.mkdir(self.base)
        self.files = {}
        self.fds = {}
        self.serial = 0

    def path(self, name):
        return os.path.join(self.base, name)

    def fresh(self):
        self.serial += 1
        return f'f{self.serial}'

    def check(self, name):
        with open(self.path(name), 'rb') as f:
            expect(f'{self.base}/{name}', f.read(), bytes(self.files[name]))

    def step(self):
        rng = self.rng
        kind = rng.choice(['create', 'create', 'write', 'write', 'write', 'read', 'read', 'rename', 'link', 'unlink', 'truncate', 'append', 'list', 'mkdir', 'stat', 'excl', 'xattr', 'fsync', 'template'])
        name = rng.choice(list(self.files)) if self.files else None
        if kind == 'create' or name is None:
            name = self.fresh()
            data = rng.randbytes(rng.choice([0, 10, 5000, 100_000]))
            with open(self.path(name), 'xb', buffering=0) as f:
                written = f.write(data)
                expect(f'length written to {name}', written, len(data))
            self.files[name] = bytearray(data)
        elif kind in ('write', 'append'):
            data = rng.randbytes(rng.choice([1, 100, 9000]))
            content = self.files[name]
            at = len(content) if kind == 'append' else rng.randrange(len(content) + 100)
            fd = os.open(self.path(name), os.O_WRONLY | (os.O_APPEND if kind == 'append' else 0))
            expect(f'length written to {name}', os.write(fd, data) if kind == 'append' else os.pwrite(fd, data, at), len(data))
            os.close(fd)
            if at > len(content):
                content.extend(bytes(at - len(content)))
            content[at:at + len(data)] = data
        elif kind == 'read':
            self.check(name)
        elif kind == 'rename':
            # A rename that was done twice would fail with ENOENT, or take the successor away.
            new = self.fresh()
            os.rename(self.path(name), self.path(new))
            self.files[new] = self.files.pop(name)
        elif kind == 'link':
            new = self.fresh()
            os.link(self.path(name), self.path(new))
            os.unlink(self.path(name))
            self.files[new] = self.files.pop(name)
        elif kind == 'unlink' and len(self.files) > 20:
            os.unlink(self.path(name))
            del self.files[name]
        elif kind == 'truncate':
            size = rng.randrange(len(self.files[name]) + 50)
            os.truncate(self.path(name), size)
            content = self.files[name]
            del content[size:]
            content.extend(bytes(size - len(content)))
        elif kind == 'list':
            expect(f'names in {self.base}', sorted(os.listdir(self.base)), sorted(self.files))
        elif kind == 'mkdir':
            os.mkdir(self.path('folder'))
            os.rmdir(self.path('folder'))
        elif kind == 'stat':
            status = os.stat(self.path(name))
            expect(f'size of {name}', status.st_size, len(self.files[name]))
            expect(f'links of {name}', status.st_nlink, 1)
        elif kind == 'excl':
            # A create that was done twice would say EEXIST the first time.
            lock = self.path('lock')
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(lock)
            self.files.pop('lock', None)
        elif kind == 'xattr':
            value = rng.randbytes(30)
            os.setxattr(self.path(name), 'user.load', value)
            expect(f'xattr of {name}', os.getxattr(self.path(name), 'user.load'), value)
            os.removexattr(self.path(name), 'user.load')
        elif kind == 'fsync':
            fd = os.open(self.path(name), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        elif kind == 'template':
            number = rng.randrange(300)
            with open(os.path.join(root, 'usr/lib/many', f'entry-{number:04}'), 'rb') as f:
                expect('a file of the template', f.read(), b'entry %d\n' % (number // 3))
        operations[self.number] += 1

    def run(self):
        while not stop.is_set():
            try:
                self.step()
            except OSError as error:
                errors.append(f'thread {self.number}: {error}: {traceback.format_exc(limit=-1).splitlines()[1].strip()}')
                return

    def finish(self):
        for name in self.files:
            try:
                self.check(name)
            except OSError as error:
                errors.append(f'at the end: {error}')


class Keeper:
    """Holds everything that must outlive the worker."""

    def __init__(self):
        self.base = os.path.join(root, 'data')
        self.open = os.open(f'{self.base}/kept', os.O_RDWR | os.O_CREAT)
        os.write(self.open, b'kept open')
        self.reader = os.open(os.path.join(root, 'usr/lib/size-1000003'), os.O_RDONLY)
        self.content = os.pread(self.reader, 1_000_003, 0)
        self.unlinked = os.open(f'{self.base}/unlinked', os.O_RDWR | os.O_CREAT)
        os.write(self.unlinked, b'unlinked while open')
        os.unlink(f'{self.base}/unlinked')
        self.gone = os.open(os.path.join(root, 'data/size-65536'), os.O_RDONLY)
        self.gone_content = os.pread(self.gone, 65536, 0)
        os.unlink(os.path.join(root, 'data/size-65536'))
        self.locked = os.open(f'{self.base}/locked', os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.locked, fcntl.LOCK_EX)
        self.mapped = os.open(f'{self.base}/mapped', os.O_RDWR | os.O_CREAT)
        os.ftruncate(self.mapped, 65536)
        self.map = mmap.mmap(self.mapped, 65536)
        self.folder = os.open(f'{self.base}/many', os.O_RDONLY | os.O_DIRECTORY)
        self.turn = 0

    def step(self):
        self.turn += 1
        stamp = b'%08d' % self.turn
        os.pwrite(self.open, stamp, 100)
        expect('the open file', os.pread(self.open, 8, 100), stamp)
        os.pwrite(self.unlinked, stamp, 100)
        expect('the unlinked file', os.pread(self.unlinked, 8, 100), stamp)
        expect('the unlinked file\'s start', os.pread(self.unlinked, 19, 0), b'unlinked while open')
        expect('links of the unlinked file', os.fstat(self.unlinked).st_nlink, 0)
        at = self.turn * 37 % 60000
        expect('the open template file', os.pread(self.reader, 5000, at), self.content[at:at + 5000])
        expect('the unlinked template file', os.pread(self.gone, 5000, at), self.gone_content[at:at + 5000])
        other = os.open(f'{self.base}/locked', os.O_RDWR)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            wrong.append('the lock was lost')
        except BlockingIOError:
            pass
        os.close(other)
        self.map[at:at + 8] = stamp
        expect('the mapped file', os.pread(self.mapped, 8, at), stamp)
        os.pwrite(self.mapped, b'pwritten', at + 100)
        expect('the mapping', bytes(self.map[at + 100:at + 108]), b'pwritten')
        expect('the open folder', len(os.listdir(self.folder)), 300)
        operations[-1] += 1

    def run(self):
        while not stop.is_set():
            try:
                self.step()
                time.sleep(0.002)
            except OSError as error:
                errors.append(f'keeper: {error}: {traceback.format_exc(limit=-1).splitlines()[1].strip()}')
                return


workers = [Worker(number) for number in range(threads)]
keeper = Keeper()
running = [threading.Thread(target=one.run, daemon=True) for one in [*workers, keeper]]
for thread in running:
    thread.start()
print('ready', flush=True)
sys.stdin.read()
stop.set()
for thread in running:
    thread.join(60)
    if thread.is_alive():
        errors.append('a call hangs')
for worker in workers:
    worker.finish()
print(json.dumps({'operations': sum(operations), 'idle': [i for i, n in enumerate(operations) if n < 10], 'errors': errors[:20], 'wrong': wrong[:20]}), flush=True)
os._exit(0)
