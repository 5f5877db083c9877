"""Kills workers at random, in all the ways that a worker can be hit."""
import os
import random
import signal
import time

from ptrace import kill_at_call

REACH = 0.02  # seconds after a kill in which a call counts as one that met it


class Kills:
    """Each is noted with its time, to find what clients had to wait for it."""

    def __init__(self, roots, seed):
        self.roots, self.rng = roots, random.Random(seed)
        self.done = []  # (time, root)

    def strike(self):
        """@returns how many workers were killed"""
        root = self.rng.choice(self.roots)
        before = len(self.done)
        self.rng.choices([self.one, self.at_a_call, self.starting, self.stopped, self.all], [35, 35, 15, 8, 7])[0](root)
        return len(self.done) - before

    def one(self, root):
        self._kill(root, root.worker())

    def at_a_call(self, root):
        """Right before or after one of its system calls."""
        pid = root.worker()
        root.killed.add(pid)
        kill_at_call(pid, self.rng.randrange(1, 60))
        self.done.append((time.monotonic(), root))

    def starting(self, root):
        """Its successors too, before or while they take over."""
        self.one(root)
        for _ in range(self.rng.randrange(1, 6)):
            pid = root.starting_worker()
            time.sleep(self.rng.choice([0, 0.0003, 0.001, 0.003]) * self.rng.random())
            self._kill(root, pid)

    def stopped(self, root):
        """Requests pile up in front of one that does not go on, then it goes."""
        pid = root.worker()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.rng.random() * 0.03)
        self._kill(root, pid)

    def all(self, _root):
        """Those of all roots at once."""
        for root, pid in [(root, root.worker()) for root in self.roots]:
            self._kill(root, pid)

    def _kill(self, root, pid):
        self.done.append((time.monotonic(), root))
        root.kill(pid)

    def pauses(self, root, calls):
        """@returns for each kill of this root the longest call that was under way then, in seconds; calls: (began, ended)"""
        calls = sorted(calls)
        longest = max((ended - began for began, ended in calls), default=0)
        found = []
        for killed, _root in (kill for kill in self.done if kill[1] is root):
            met = [ended - began for began, ended in calls if killed - longest <= began <= killed + REACH and ended >= killed]
            found.append(max(met, default=0))
        return found
