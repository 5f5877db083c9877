"""A process that does operations on both sides, one after the other, and compares what they answer.

It holds a file system's descriptors, maps, locks and current folder as a program would. Whose turn it is goes from process to
process through pipes: only one of them works at a time, so what happens does not depend on scheduling. In the concurrent phase
all work at once, each in folders of its own.
"""
import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import sys
import traceback

import operations_attributes  # noqa: F401  registers its operations, as the others do
import operations_content  # noqa: F401
import operations_looking  # noqa: F401
import operations_maps  # noqa: F401
import operations_names  # noqa: F401
import operations_special  # noqa: F401
from actors import Identity
from compare import Comparison
from differences import is_documented
from side import EFFECTS, OPERATIONS, Side
from syscalls import die_with_parent

LEAVE, END, OWN_PHASE = -1, -2, -3
MESSAGE = struct.Struct('<q')
RECORD = 32
KEEP_OLD = 4 << 20


class Actor:
    def __init__(self, run, role):
        self.run, self.role = run, role
        self.identity = Identity(role)
        self.root, self.plain = Side('root', run.root_path, run.settings), Side('plain', run.plain_path, run.settings)
        self.comparison = Comparison(self.root, self.plain, run.started_ns)

    def work(self):
        """The life of the process."""
        die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.setgroups([])
        try:
            while True:
                message = MESSAGE.unpack(os.read(self.run.pipes[self.role][0], MESSAGE.size))[0]
                if message == END:
                    break
                if message == LEAVE:
                    self.root.leave()
                    self.plain.leave()
                    self.run.report('left', self.role)
                elif message == OWN_PHASE:
                    self._own_phase()
                else:
                    self._turn(message)
        except Failure as failure:
            self.run.report('failed', failure.index, failure.text)
        except BaseException:
            self.run.report('failed', self.run.progress[0], 'the test itself failed: ' + traceback.format_exc()[-3000:])
        sys.stdout.flush()
        os._exit(0)

    def _turn(self, index):
        """Works until the next stop, or until it is another's turn."""
        operations = self.run.operations
        while True:
            self.run.progress[0] = index
            self._perform(operations[index], index)
            index += 1
            if index in self.run.stops:
                self.run.report('at', index)
                return
            if operations[index]['actor'] != self.role:
                os.write(self.run.pipes[operations[index]['actor']][1], MESSAGE.pack(index))
                return

    def _own_phase(self):
        operations = self.run.own[self.run.settings['actors'].index(self.role)]
        for i, op in enumerate(operations):
            try:
                self._perform(op, len(self.run.operations))
            except Failure as failure:
                raise Failure(failure.index, f'{op}: {failure.text}') from None
            if i % 3 == 0:
                self._append_record(i)
        self.run.report('left', self.role)

    def _append_record(self, number):
        """Several actors append to one file: no record may be torn or lost."""
        for side in (self.root, self.plain):
            side.enter()
            fd = os.open('records', os.O_WRONLY | os.O_APPEND)
            os.write(fd, f'{self.role} {number}'.encode().ljust(RECORD, b'.'))
            os.close(fd)

    def _answer(self, side, op):
        side.enter()
        self.identity.put_on()
        try:
            if op['op'] == self.run.broken and side.is_root:
                raise OSError(errno.EBADE, 'broken on purpose')
            return 'ok', OPERATIONS[op['op']](side, op)
        except OSError as e:
            return 'error', errno.errorcode.get(e.errno, e.errno)
        finally:
            self.identity.take_off()

    def _perform(self, op, index):
        a, b = self._answer(self.root, op), self._answer(self.plain, op)
        slots = [side.slots.get(op['slot']) for side in (self.root, self.plain)]
        if a != b:
            judged = self.root.maps.get(op['slot']) if op['op'] == 'mapread' else slots[0]
            if not is_documented(op, judged, a, b):
                raise Failure(index, f'root {a!r} plain {b!r}')
            if op['op'] == 'reopen':
                self.root.drop(op['slot'])
                self.plain.drop(op['slot'])
        elif slots[1] is not None and slots[1].is_new:
            self._note_new(*slots)
        effect = EFFECTS[op['op']]
        look = self.run.settings['look']
        if effect and op['n'] >> 10 & 1023 < look * 1024:
            # Reading a file means closing it again, which would end this process's locks on it.
            content = effect == 'content' and not self.plain.posix_locks
            problem = self.comparison.touched(op, content) or (effect == 'content' and self.comparison.slot(op['slot'], content))
            if problem:
                raise Failure(index, f'then {problem}')

    def _note_new(self, root, plain):
        """Keeps what a file held, if this descriptor may go on reading it when the file changes: see differences.py."""
        root.is_new = plain.is_new = False
        status = os.fstat(plain.fd)
        flags = fcntl.fcntl(plain.fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE != os.O_RDONLY or not stat.S_ISREG(status.st_mode) or status.st_ino not in self.run.shared_inodes:
            return
        if not flags & os.O_PATH:
            root.old = plain.old = os.pread(plain.fd, KEEP_OLD, 0)
            return
        # A bare path is opened to be read. Closing that ends this process's locks, so on both sides (the root's may be stale: then
        # none of them are on it).
        with contextlib.suppress(OSError):
            read_again(root.fd)
        root.old = plain.old = read_again(plain.fd)


def read_again(fd):
    again = os.open(f'/proc/self/fd/{fd}', os.O_RDONLY)
    try:
        return os.pread(again, KEEP_OLD, 0)
    finally:
        os.close(again)


class Failure(Exception):
    """The two sides differ."""

    def __init__(self, index, text):
        super().__init__(text)
        self.index, self.text = index, text
