"""One process that works on a root and knows what each of its operations must give.

A client runs steps until it is told to stop, then looks at everything once more with all its descriptors still open, closes
them, and looks again after the root was remounted. A system call that fails, and a result that is not the expected one, is
told at once and ends the client. Each call is timed: how long clients have to wait around a kill is what the soak measures.
"""
import json
import mmap
import os
import random
import struct
import sys
import time
import traceback

from syscalls import die_with_parent

RUNNING, STOPPED, CHECKED = 0, 1, 2
HEAD = struct.Struct('<BB6xQQQ')  # phase wanted, phase reached, operations, steps, records
RECORD = struct.Struct('<dd')  # when a call began and ended, by time.monotonic()
RECORDS = 60_000
SLOW = 0.0003  # shorter calls are not worth a record


class Wrong(Exception):
    """A call succeeded, and its result is wrong."""


class Board:
    """What a client and the main process tell one another, in memory that both map."""

    def __init__(self):
        self.memory = mmap.mmap(-1, HEAD.size + RECORDS * RECORD.size)
        self.operations = self.steps = self.records = 0

    def ask(self, phase):
        self.memory[0] = phase

    def asked(self):
        return self.memory[0]

    def reach(self, phase):
        self.memory[1] = phase

    def reached(self):
        return self.memory[1]

    def note(self, began, ended):
        if self.records < RECORDS:
            RECORD.pack_into(self.memory, HEAD.size + self.records * RECORD.size, began, ended)
            self.records += 1

    def publish(self):
        struct.pack_into('<QQQ', self.memory, 8, self.operations, self.steps, self.records)

    def read(self):
        """@returns (operations, steps, [(began, ended)])"""
        operations, steps, records = struct.unpack_from('<QQQ', self.memory, 8)
        return operations, steps, [RECORD.unpack_from(self.memory, HEAD.size + i * RECORD.size) for i in range(records)]


class Client:
    """Below `folder` of a root, which is its alone unless its class says otherwise."""

    pace = 0.002  # seconds between two steps at most: two processors must not be the bottleneck

    def __init__(self, root, top, number, seed):
        self.root, self.top, self.number = root.path, top, number
        self.passthrough = '--no-passthrough' not in root.options
        self.name = f'{type(self).__name__} {number} in /{top}'
        self.folder = f'{root.path}/{top}/{type(self).__name__.lower()}-{number}'
        self.rng = random.Random(seed)
        self.board = Board()
        self.serial = 0
        self.pid = 0

    # What a kind of client says.

    def begin(self):
        os.mkdir(self.folder)

    def step(self):
        raise NotImplementedError

    def check(self):
        """Looks at everything by its name."""

    def check_open(self):
        """Looks at everything through the descriptors that are open."""

    def close(self):
        """Closes them."""

    # What they all use.

    def do(self, call, *arguments, **named):
        """A call that must succeed, timed."""
        began = time.monotonic()
        result = call(*arguments, **named)
        ended = time.monotonic()
        self.board.operations += 1
        if ended - began > SLOW:
            self.board.note(began, ended)
        return result

    def wait(self, call, *arguments, **named):
        """A call that must succeed, and may wait for other clients."""
        self.board.operations += 1
        return call(*arguments, **named)

    def refused(self, error, call, *arguments):
        """A call that must fail with this errno."""
        try:
            self.do(call, *arguments)
        except OSError as found:
            self.same(f'the errno of {call.__name__} {arguments}', found.errno, error)
        else:
            raise Wrong(f'{call.__name__} {arguments} succeeded, errno {error} was due')

    def same(self, what, found, wanted):
        if found == wanted:
            return
        text = f'{what}: {repr(found)[:120]}, not {repr(wanted)[:120]}'
        if isinstance(found, (bytes, bytearray)):
            at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
            text = f'{what}: {len(found)} bytes, {len(wanted)} expected, first difference at {at}: {bytes(found[at:at + 16])}, not {bytes(wanted[at:at + 16])}'
        raise Wrong(text)

    def same_content(self, path, wanted):
        fd = self.do(os.open, path, os.O_RDONLY)
        try:
            self.same(path, self.read_all(fd, len(wanted)), bytes(wanted))
        finally:
            self.do(os.close, fd)

    def read_all(self, fd, size):
        """What a descriptor shows: as much as is expected, and whatever more there is."""
        pieces, at = [], 0
        while piece := self.do(os.pread, fd, max(size + 1 - at, 4096), at):
            pieces.append(piece)
            at += len(piece)
        return b''.join(pieces)

    def write_all(self, fd, data, at):
        self.same('bytes written', self.do(os.pwrite, fd, data, at), len(data))

    def fresh(self):
        self.serial += 1
        return f'{self.folder}/{self.number}-{self.serial}'

    def put(self, path, data):
        fd = self.do(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self.write_all(fd, data, 0)
        self.do(os.close, fd)

    # Its life.

    def start(self, problems):
        """Forks. Problems are JSON lines in the pipe `problems`."""
        self.pid = os.fork()
        if self.pid:
            return
        try:
            die_with_parent(9)
            self._live()
        except BaseException as error:  # whatever ends a client is a problem
            kind = 'wrong' if isinstance(error, Wrong) else 'error'
            where = ' < '.join(f'{frame.name}:{frame.lineno}' for frame in reversed(traceback.extract_tb(error.__traceback__)[-3:]))
            os.write(problems, json.dumps({'kind': kind, 'text': f'{self.name}: {error!r:.700} in {where}'}).encode() + b'\n')
            self.board.publish()
            os._exit(1)
        sys.stderr.flush()
        os._exit(0)

    def _live(self):
        self.begin()
        while self.board.asked() == RUNNING:
            self.step()
            self.board.steps += 1
            self.board.publish()
            time.sleep(self.rng.random() * self.pace)
        self.check_open()
        self.check()
        self.close()
        self._reach(STOPPED)
        while self.board.asked() == STOPPED:
            time.sleep(0.01)
        self.check()
        self._reach(CHECKED)

    def _reach(self, phase):
        self.board.publish()
        self.board.reach(phase)
