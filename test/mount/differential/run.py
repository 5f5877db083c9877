"""Runs one sequence: makes both sides, starts the actors, gives them their turns, compares everything now and then."""
import json
import mmap
import os
import select
import shutil
import signal
import subprocess
import threading
import time

from actor import END, LEAVE, MESSAGE, OWN_PHASE, RECORD, Actor
from compare import Comparison, read_all
from draw import CONTROLLER
from engine_root import EngineRoot
from side import Side
from template import TOPS

SILENCE_S = 180
counter = [0]


class Problem(Exception):
    """The sides differ at this operation."""

    def __init__(self, index, text):
        super().__init__(text)
        self.index, self.text = index, text


class Run:
    def __init__(self, setting, sequence, mount_options):
        self.settings, self.operations, self.own = (sequence[name] for name in ('settings', 'operations', 'own'))
        counter[0] += 1
        name = f'd{os.getpid()}-{counter[0]}'
        self.plain_path = f'{setting.work}/{name}'
        subprocess.run(['cp', '-a', '--sparse=always', setting.template, self.plain_path], check=True)
        self.engine = EngineRoot(setting, name, mount_options)
        self.root_path = self.engine.path
        self.started_ns = time.time_ns() - 10**9
        self.shared_inodes = self._shared_inodes()
        walk, count = self.settings['walk'], len(self.operations)
        control = {i for i, op in enumerate(self.operations) if op['actor'] == CONTROLLER}
        self.stops = control | set(range(walk, count, walk)) | {count}
        self.broken = setting.broken
        self.pipes, self.progress = {}, memoryview(mmap.mmap(-1, 8)).cast('q')
        self.reports = os.pipe()
        self.unread = b''
        self.children, self.timers = {}, []
        self.sides = Side('root', self.root_path, self.settings), Side('plain', self.plain_path, self.settings)
        self.comparison = Comparison(*self.sides, self.started_ns)

    def _shared_inodes(self):
        """Files whose old readers may keep their bytes: those of the template that are on shared paths, or may come there."""
        tops = TOPS if self.settings['mixes'] else TOPS[:1]
        return {os.lstat(os.path.join(folder, name)).st_ino for top in tops for folder, _f, names in os.walk(f'{self.plain_path}/{top}') for name in names}

    def report(self, *what):
        """Called by actors. Short, so that it is written in one piece."""
        os.write(self.reports[1], json.dumps(what).encode()[:4000] + b'\n')

    def _await(self):
        """@returns the next report of an actor @raises Problem if it is one, or if there is none for long"""
        while b'\n' not in self.unread:
            if not select.select([self.reports[0]], [], [], SILENCE_S)[0]:
                for pid in list(self.children.values()):
                    os.kill(pid, signal.SIGUSR2)
                raise Problem(self.progress[0], f'no actor has said anything for {SILENCE_S} s: something hangs')
            self.unread += os.read(self.reports[0], 65536)
        line, self.unread = self.unread.split(b'\n', 1)
        try:
            kind, *rest = json.loads(line)
        except ValueError:
            kind, rest = 'failed', [self.progress[0], line.decode()]
        if kind == 'failed':
            raise Problem(*rest)
        if kind == 'died':
            raise Problem(self.progress[0], f'actor {rest[0]} was ended with status {rest[1]}')
        return rest

    def execute(self):
        """@returns a Problem, or None"""
        try:
            for role in self.settings['actors']:
                self.pipes[role] = os.pipe()
            for role in self.settings['actors']:
                self._start(role)
            self._main_phase()
            if any(self.own):
                self._own_phase()
            return None
        except Problem as problem:
            return problem
        finally:
            self._end()

    def _start(self, role):
        pid = os.fork()
        if pid == 0:
            try:
                Actor(self, role).work()
            finally:
                os._exit(1)
        self.children[role] = pid

        def watch():
            _pid, status = os.waitpid(pid, 0)
            self.children.pop(role, None)
            if status != 0:
                self.report('died', role, status)
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        self.timers.append(thread)

    def _main_phase(self):
        index, count = 0, len(self.operations)
        while True:
            if index % self.settings['walk'] == 0 and index > 0 or index == count:
                self._walk(index)
            if index == count:
                return
            op = self.operations[index]
            if op['actor'] == CONTROLLER:
                self._control(op)
                index += 1
                continue
            self.tell(op['actor'], index)
            index = self._await()[0]

    def tell(self, role, message):
        os.write(self.pipes[role][1], MESSAGE.pack(message))

    def _walk(self, index):
        problem = self.comparison.walk()
        if problem:
            raise Problem(max(0, index - 1), f'in a walk over everything: {problem}')

    def _control(self, op):
        if op['op'] == 'kill':
            self.engine.kill_worker()
        elif op['op'] == 'killsoon':
            # In the midst of whatever is asked of it then.
            timer = threading.Timer(op['n'] % 4000 / 1e6, self.engine.kill_worker)
            timer.start()
            self.timers.append(timer)
        else:
            self._join_timers()
            for role in self.settings['actors']:
                self.tell(role, LEAVE)
            for _ in self.settings['actors']:
                self._await()
            for side in self.sides:
                side.leave()
            self.engine.umount()
            self.engine.mount()

    def _own_phase(self):
        for message in (LEAVE, OWN_PHASE):
            for role in self.settings['actors']:
                self.tell(role, message)
            if message == OWN_PHASE and self.settings['seed'] % 2:
                time.sleep(0.02)
                self.engine.kill_worker()
            for _ in self.settings['actors']:
                self._await()
        records = []
        for side in self.sides:
            side.enter()
            content = read_all('records')
            records.append(sorted(content[at:at + RECORD] for at in range(0, len(content), RECORD)))
        end = len(self.operations)
        if records[0] != records[1]:
            raise Problem(end, f'records that several actors appended: {len(records[0])} on the root, {len(records[1])} on the plain side, or torn')
        for path in (self.root_path, self.plain_path):
            os.truncate(f'{path}/records', 0)  # their order is nobody's affair
        self._walk(end + 1)

    def _join_timers(self):
        for timer in self.timers:
            if isinstance(timer, threading.Timer):
                timer.join()

    def _end(self):
        self._join_timers()
        for role in list(self.children):
            self.tell(role, END)
        deadline = time.monotonic() + 10
        while self.children and time.monotonic() < deadline:
            time.sleep(0.002)
        for pid in list(self.children.values()):
            os.kill(pid, signal.SIGKILL)
        for side in self.sides:
            side.leave()
        self.engine.destroy()
        shutil.rmtree(self.plain_path)
        for pair in (*self.pipes.values(), self.reports):
            for fd in pair:
                os.close(fd)
