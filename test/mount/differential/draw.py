"""Draws sequences. An operation is plain data (JSON): it can be printed, left out, and run again.

`actor` says which process does it, `path` and `other` are names below the root, `slot` is one of the actor's descriptors, and
`n` is a large number from which the operation takes everything else.
"""
import os
import random

from model import Model
from template import LONG_NAME, OWN_FOLDERS, TOPS

NAMES = ['f0', 'f1', 'f2', 'f3', 'hard0', 'hard1', 'sym', 'dangling', 'fifo', 'null', 'sock', 'deep', 'er', LONG_NAME, 'odd \n\xe9name',
         'new1', 'new2', 'new3', 'new4', 'nd1', 'nd2', 'nd3', 'kept', 'sparse', 'up']
RARE_NAMES = [LONG_NAME + 'n', 'f0/', 'f0/x', 'a/../f1', './f2', '\udcff\udcfe', 'sym/', '']
FOLDERS = ['a', 'b', 'a/deep', 'a/deep/er', 'empty', 'sgid', 'sticky', 'acl', 'nd1', 'nd2', 'nd1/nd3', 'b/nd4']
RARE_FOLDERS = ['through', 'through/er', 'a/up/b', 'loop1', 'a/../b', 'through/../deep', 'b/sym', 'blocks', 'new1', 'b/kept']
OWN = ['a', 'b', 'nd1', 'nd1/nd2']

# Weights: what is drawn how often.
CONTENT = {
    'create': 14, 'open': 26, 'opentruncate': 3, 'openodd': 5, 'close': 5, 'read': 16, 'write': 26, 'append': 8, 'ftruncate': 8, 'truncate': 8,
    'fallocate': 8, 'shiftrange': 0.5, 'holes': 5, 'copyrange': 5, 'sendfile': 3, 'splice': 3, 'direct': 4, 'synced': 1, 'hugeoffset': 2,
    'fsync': 2, 'map': 8, 'mapread': 8, 'mapwrite': 12, 'remap': 2, 'mapsync': 2, 'unmap': 2, 'mapprivate': 3,
}
NAMING = {
    'mkdir': 9, 'rmdir': 4, 'unlink': 8, 'rename': 18, 'renameflags': 16, 'movetree': 6, 'link': 12, 'linkfollow': 2, 'symlink': 5, 'mknod': 4,
    'tmpfile': 6, 'linkfd': 8, 'rmtree': 0.3, 'deep': 0.5, 'replace': 4,
}
ATTRIBUTES = {
    'chmod': 12, 'fchmod': 6, 'chown': 10, 'fchown': 4, 'utime': 8, 'setxattr': 10, 'fsetxattr': 4, 'removexattr': 6, 'setacl': 6, 'setcap': 3,
    'privileged': 3,
}
LOOKING = {
    'stat': 6, 'statx': 8, 'fstat': 10, 'getxattr': 7, 'listxattr': 5, 'readlink': 3, 'listdir': 5, 'access': 8, 'readchange': 1, 'listopen': 3,
}
DESCRIPTORS = {
    'reopen': 8, 'opendir': 5, 'chdir': 5, 'inside': 8, 'fifo': 4, 'fiforead': 3, 'fifowrite': 3, 'bind': 2, 'connect': 3, 'execute': 0.6, 'busy': 0.2,
    'flock': 6, 'lock': 8, 'getlock': 4,
}
CONTROL = {'kill': 0.6, 'killsoon': 0.9, 'remount': 0.35}
EVERYTHING = {**CONTENT, **NAMING, **ATTRIBUTES, **LOOKING, **DESCRIPTORS}
CONTROLLER = -1

# What an operation wants its path to be, where that is not `file`. NEW: nothing yet, in a folder that is there.
NEW = 'new'
ANY = ('file', 'file', 'folder', 'symlink', 'fifo', 'socket', 'device')
WANTS = {
    **dict.fromkeys(('create', 'mkdir', 'symlink', 'mknod', 'bind', 'tmpfile', 'readchange', 'deep', 'busy'), NEW),
    **dict.fromkeys(('rename', 'renameflags', 'chown', 'utime', 'stat', 'statx', 'access', 'openodd', 'getxattr', 'setxattr', 'removexattr', 'chmod', 'listxattr'), ANY),
    **dict.fromkeys(('rmdir', 'chdir', 'opendir', 'listdir', 'movetree'), ('folder',)),
    'link': tuple(kind for kind in ANY if kind != 'folder'), 'unlink': tuple(kind for kind in ANY if kind != 'folder'),
    'setacl': ('file', 'folder'), 'readlink': ('symlink',), 'fifo': ('fifo',), 'connect': ('socket',),
}
FROM_SLOT = {
    **dict.fromkeys(('close', 'read', 'write', 'ftruncate', 'fallocate', 'shiftrange', 'holes', 'copyrange', 'sendfile', 'splice', 'hugeoffset', 'fsync', 'map', 'mapprivate',
                     'linkfd', 'fchmod', 'fchown', 'fsetxattr', 'fstat', 'reopen', 'flock', 'lock', 'getlock'), 'file'),
    'listopen': 'folder', 'fiforead': 'fifo', 'fifowrite': 'fifo',
}
FROM_MAP = ('mapread', 'mapwrite', 'remap', 'mapsync', 'unmap')


class Sequence:
    """The operations of one seed, with what holds for all of them."""

    def __init__(self, seed, count, entries):
        rng = self.rng = random.Random(seed)
        self.model = Model({path: kind for path, kind in entries.items() if '/own' not in path})
        self.actors = [0, 1, *rng.sample([2, 3, 4], rng.randrange(0, 4))]
        # In every second sequence names never cross from `usr` to `data`, so that old descriptors can be judged more strictly.
        self.mixes = rng.random() < 0.5
        self.settings = {'seed': seed, 'actors': self.actors, 'mixes': self.mixes, 'look': rng.choice([1, 1, 1, 0.3, 0]), 'walk': rng.choice([100, 250, 250, 500])}
        self.actor, self.own_index, self.focus = 0, None, []
        self.operations = [self._draw({**EVERYTHING, **CONTROL}) for _ in range(count)]
        # What each actor does in folders of its own, all at once.
        self.own = []
        for self.own_index, self.actor in enumerate(self.actors):
            self.model = Model({path: kind for path, kind in entries.items() if f'/own{self.own_index % OWN_FOLDERS}/' in path})
            self.own.append([self._draw(EVERYTHING) for _ in range(max(10, count // 20))])

    def _draw(self, weights):
        rng = self.rng
        kind = rng.choices(list(weights), list(weights.values()))[0]
        # Mostly the same actor as before: handing over costs more than an operation.
        if self.own_index is None and rng.random() < 0.25:
            self.actor = rng.choice(self.actors)
        actor = self.actor
        if kind == 'inside' and actor not in self.model.placed and rng.random() < 0.8:
            kind = 'chdir'
        if kind in FROM_MAP and not self.model.maps.get(actor) and rng.random() < 0.8:
            kind = 'map'
        top = rng.choice(TOPS)
        other_top = rng.choice(TOPS) if self.mixes else top
        wants = WANTS.get(kind, ('file',))
        op = {
            'op': kind, 'actor': CONTROLLER if kind in CONTROL else actor, 'path': self._path(top, wants),
            'other': self._path(other_top, ANY if rng.random() < 0.35 else NEW), 'slot': self._slot(kind, actor), 'n': rng.getrandbits(60),
        }
        self.model.note(op)
        return op

    def _slot(self, kind, actor):
        rng = self.rng
        if rng.random() < 0.9:
            slots = self.model.slots.get(actor, {})
            known = self.model.maps.get(actor) if kind in FROM_MAP else [slot for slot, what in slots.items() if what == FROM_SLOT.get(kind)]
            if known:
                return rng.choice(sorted(known))
        return rng.randrange(6)

    def _path(self, top, wants):
        """Mostly something that suits, often the same few files (so that operations meet), sometimes anything."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.12:
            return self._wild(top)
        if wants == NEW:
            folder = self.model.choose(rng, top, ('folder',)) or top
            return f'{folder}/{rng.choice(NAMES)}'
        if chance < 0.4:
            known = [path for path in self.focus if path.startswith(top) and self.model.entries.get(path) in wants]
            if known:
                return rng.choice(known)
        chosen = self.model.choose(rng, f'{top}/blocks/' if chance > 0.93 and self.own_index is None else top, wants) or self._wild(top)
        self.focus = [*self.focus[-11:], chosen]
        return chosen

    def _wild(self, top):
        rng, chance = self.rng, self.rng.random()
        if self.own_index is not None:
            folder = f'own{self.own_index % OWN_FOLDERS}/{rng.choice(OWN)}'
        else:
            folder = rng.choice(RARE_FOLDERS if chance < 0.3 else FOLDERS)
        return os.path.join(top, folder) if chance > 0.85 else f'{top}/{folder}/{rng.choice(RARE_NAMES if chance < 0.15 else NAMES)}'


def choose(op, shift, choices):
    """One of several, by a part of the operation's number."""
    return choices[(op['n'] >> shift) % 1009 % len(choices)]
