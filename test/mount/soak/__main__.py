#!/usr/bin/env python3
"""Kills the workers of mounted roots again and again under clients that check all that they do, and notices nothing but a pause.

    npm run test:soak -- --kills 500 [--seconds N] [--seed N]

Clients are processes that change names and attributes, write by passthrough and through the page cache, map, list,
lock, hold unlinked files, copy template files up whole and block by block, rename folders of the template and run SQLite
transactions; each compares every result with what it must be. Workers are killed while they serve, while
they start, several in a row and those of all roots at once. After each round the roots are remounted and all is
compared again. The last line is the result; the pause is the longest call around each kill.
"""
import argparse
import json
import os
import random
import select
import shlex
import signal
import statistics
import subprocess
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '../differential'))

import soak_template
from client import CHECKED, STOPPED
from content import Bytes, Copies, Unlinked
from kills import Kills
from names import Folders, Names, Streams
from setting import PROJECT, Setting, SettingError
from soak_root import SoakRoot
from together import Locks, Maps, Probe, Sqlite

VARIANTS = ['', '--whole-copy-limit 0', '--no-passthrough', '--whole-copy-limit 0 --no-passthrough']
KINDS = [Names, Streams, Folders, Bytes, Copies, Unlinked, Maps, Maps, Locks, Locks, Locks, Sqlite, Sqlite, Probe]
ROUND = 125  # kills between two remounts
HANG = 30  # seconds without a step that no machine is too slow for


class Failed(Exception):
    pass


class Totals:
    def __init__(self):
        self.kills, self.operations, self.pauses, self.problems = 0, 0, [], []


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    totals, turn = Totals(), 0
    try:
        with Setting(options.engine, options.folder, build=soak_template.build) as setting:
            while not totals.problems and (totals.kills < options.kills or time.monotonic() - started < options.seconds):
                Round(setting, options, turn, totals).run(min(ROUND, max(1, options.kills - totals.kills)))
                turn += 1
            problem = None if totals.problems else setting.verify()
            if problem:
                totals.problems.append(problem)
    except (SettingError, OSError, subprocess.SubprocessError) as error:
        print(f'soak: {error}', file=sys.stderr)
        return 1
    for problem in totals.problems:
        print(problem)
    if totals.problems:
        print(f'again: npm run test:soak -- --kills {options.kills} --seed {options.seed + turn - 1}')
    pauses = [pause * 1000 for pause in totals.pauses] or [0]
    print(f'soak: {totals.kills} kills, {len(totals.problems)} errors, {totals.operations} operations, '
          f'pause median {statistics.median(pauses):.1f} ms, maximum {max(pauses):.1f} ms')
    return 1 if totals.problems else 0


def parse():
    parser = argparse.ArgumentParser(prog='npm run test:soak --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=500, help='how many workers to kill at least')
    parser.add_argument('--seconds', type=int, default=0, help='goes on at least as long')
    parser.add_argument('--seed', type=int, default=1, help='of the first round; each has one of its own')
    parser.add_argument('--roots', type=int, default=2, help='mounted at a time')
    parser.add_argument('--interval', type=float, default=0.15, help='seconds between two kills at most')
    parser.add_argument('--variant', action='append', metavar='OPTIONS', help=f'options of the engine; roots take turns with them; default: {VARIANTS}')
    parser.add_argument('--break', dest='broken', action='store_true', help='spoils a byte in the store behind the clients: does the soak find it?')
    parser.add_argument('--folder', help='on this folder of an ext4 file system instead of a loop device')
    parser.add_argument('--engine', default=os.environ.get('TEMPLATEFS_ENGINE', f'{PROJECT}/build/Release/templatefs-engine'))
    options = parser.parse_args()
    options.variant = options.variant or VARIANTS
    return options


class Round:
    """Fresh containers, their clients, and some kills."""

    def __init__(self, setting, options, turn, totals):
        self.options, self.totals = options, totals
        self.seed = options.seed + turn
        self.rng = random.Random(self.seed)
        self.roots = []
        for number in range(options.roots):
            variant = options.variant[(turn * options.roots + number) % len(options.variant)]
            self.roots.append(SoakRoot(setting, f'r{turn}-{number}', shlex.split(variant)))
        self.kills = Kills(self.roots, self.seed)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.unread = b''

    def run(self, kills):
        for root in self.roots:
            root.mount()
        self.clients = [(root, client) for root in self.roots for client in self._clients(root)]
        for _root, client in self.clients:
            client.start(self.writer)
        os.close(self.writer)
        try:
            self._wait(lambda client: client.board.read()[1] > 0)
            self._kill(kills)
            self._ask(STOPPED)
            for root in self.roots:
                self._look_at_engine(root)
                root.umount()
                root.mount()
            self._ask(CHECKED)
        except (Failed, TimeoutError) as error:
            self.totals.problems.append(f'{error} (round with seed {self.seed}, engine options {[root.options for root in self.roots]})')
        finally:
            self._end()

    def _clients(self, root):
        # A kind of which several work together has them all at one top; others must not meet one another.
        tops = {kind: self.rng.choice(['usr', 'data']) for kind in KINDS}
        return [kind(root, tops[kind], number, self.rng.random()) for number, kind in enumerate(KINDS)]

    def _kill(self, kills):
        spoil = kills // 2 if self.options.broken else -1
        count = 0
        while count < kills:
            time.sleep(self.rng.random() ** 2 * self.options.interval)
            count += self.kills.strike()
            self._look()
            if 0 <= spoil <= count:
                spoil = -1 if spoil_a_byte(self.roots[0]) else spoil

    def _look_at_engine(self, root):
        """All descriptors are closed: whatever the engine believes to be open now was counted wrongly."""
        info = root.info()
        found, wanted = (info['enginePid'], info['engineRestarts']), (root.worker(), len(root.killed))
        if found != wanted:
            raise Failed(f'{root.name}: info gives worker and restarts {found}, not {wanted}')
        deadline = time.monotonic() + HANG
        while (left := root.status()['opens']) != '0':
            # The kernel tells of a last close(2) without waiting for an answer.
            if time.monotonic() > deadline:
                raise Failed(f'{root.name}: nothing is open any more, and the engine counts {left} open descriptors')
            time.sleep(0.05)

    def _ask(self, phase):
        for _root, client in self.clients:
            client.board.ask(phase)
        self._wait(lambda client: client.board.reached() == phase)

    def _wait(self, is_there):
        steps, since = None, time.monotonic()
        while not all(is_there(client) for _root, client in self.clients):
            self._look()
            now = [client.board.read()[0] for _root, client in self.clients]
            if now != steps:
                steps, since = now, time.monotonic()
            late = [client.name for _root, client in self.clients if not is_there(client)]
            if time.monotonic() - since > HANG:
                raise Failed(f'these hang: {", ".join(late)}')
            time.sleep(0.01)

    def _look(self):
        """@throws Failed when a client has told of a problem"""
        if select.select([self.reader], [], [], 0)[0]:
            self.unread += os.read(self.reader, 65536)
        *lines, self.unread = self.unread.split(b'\n')
        if lines:
            raise Failed('\n'.join(f'{message["kind"]}: {message["text"]}' for message in map(json.loads, lines)))

    def _end(self):
        """Counts; takes everything away."""
        self.totals.kills += len(self.kills.done)
        for root in self.roots:
            calls = []
            for board in (client.board for where, client in self.clients if where is root):
                operations, _steps, records = board.read()
                self.totals.operations += operations
                calls += records
            self.totals.pauses += self.kills.pauses(root, calls)
        for root in self.roots if self.totals.problems else []:
            root.end_engine()
        for _root, client in self.clients:
            if self.totals.problems:
                os.kill(client.pid, signal.SIGKILL)
            os.waitpid(client.pid, 0)
        os.close(self.reader)
        for root in self.roots:
            root.destroy()


def spoil_a_byte(root):
    """@returns whether there was a file to spoil: one of Bytes, which reads all of it in the end"""
    for folder, _folders, names in os.walk(f'{root.store}/private/{root.name}/root'):
        for name in names:
            path = os.path.join(folder, name)
            if '/bytes-' in path and os.path.getsize(path) > 5000:
                with open(path, 'r+b') as f:
                    byte = f.read(1)
                    f.seek(0)
                    f.write(bytes([byte[0] ^ 1]))
                return True
    return False


if __name__ == '__main__':
    sys.exit(main())
