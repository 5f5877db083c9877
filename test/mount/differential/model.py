"""What the one who draws operations believes to be there.

It is only a guess (it knows nothing of permissions), but most operations drawn from it find what they are for. Blind ones fail
five times out of six.
"""
import os
import stat

KINDS = {stat.S_IFREG: 'file', stat.S_IFDIR: 'folder', stat.S_IFLNK: 'symlink', stat.S_IFIFO: 'fifo', stat.S_IFSOCK: 'socket', stat.S_IFCHR: 'device'}


def entries_of(base):
    """Path → kind of everything below a folder, in an order that does not depend on the file system."""
    found = {}
    for folder, folders, names in os.walk(base):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, base)] = KINDS[stat.S_IFMT(os.lstat(path).st_mode)]
    return found


class Model:
    def __init__(self, entries):
        self.entries = dict(entries)
        self.slots, self.maps, self.placed = {}, {}, set()

    def choose(self, rng, top, kinds):
        """An existing path of one of these kinds, or None."""
        found = [path for path, kind in self.entries.items() if kind in kinds and path.startswith(top)]
        return rng.choice(found) if found else None

    def note(self, op):
        """What the operation will do if it succeeds."""
        kind, path, other, actor = op['op'], op['path'], op['other'], op['actor']
        if kind in MAKES:
            self._add(path, MAKES[kind])
        elif kind in ('rename', 'movetree'):
            self._move(path, other)
        elif kind == 'renameflags' and other not in self.entries:
            self._move(path, other)
        elif kind in ('link', 'linkfollow') and path in self.entries and self.entries[path] != 'folder':
            self._add(other, self.entries[path])
        elif kind == 'linkfd':
            self._add(other, 'file')
        elif kind == 'unlink' and self.entries.get(path) != 'folder':
            self.entries.pop(path, None)
        elif kind == 'rmdir' and not self._below(path) and self.entries.get(path) == 'folder':
            self.entries.pop(path)
        elif kind == 'rmtree':
            for gone in [os.path.dirname(path), *self._below(os.path.dirname(path))]:
                self.entries.pop(gone, None)
        if kind in OPENS and (kind in CREATES or path in self.entries):
            self.slots.setdefault(actor, {})[op['slot']] = OPENS[kind]
        elif kind == 'close':
            self.slots.get(actor, {}).pop(op['slot'], None)
        elif kind == 'map':
            self.maps.setdefault(actor, set()).add(op['slot'])
        elif kind == 'unmap':
            self.maps.get(actor, set()).discard(op['slot'])
        elif kind == 'chdir':
            self.placed.add(actor)
        elif kind == 'remount':
            self.slots, self.maps, self.placed = {}, {}, set()

    def _below(self, folder):
        return [path for path in self.entries if path.startswith(folder + '/')]

    def _add(self, path, kind):
        if self.entries.get(os.path.dirname(path)) == 'folder':
            self.entries.setdefault(path, kind)

    def _move(self, old, new):
        kind = self.entries.get(old)
        if kind is None or self.entries.get(os.path.dirname(new)) != 'folder' or (new + '/').startswith(old + '/'):
            return
        if 'folder' in (kind, self.entries.get(new)) and new in self.entries:
            return
        for path in [old, *self._below(old)]:
            self.entries[new + path[len(old):]] = self.entries.pop(path)


CREATES = ('create', 'tmpfile')
MAKES = {'create': 'file', 'mkdir': 'folder', 'symlink': 'symlink', 'mknod': 'device', 'bind': 'socket'}
OPENS = {'create': 'file', 'open': 'file', 'opentruncate': 'file', 'openodd': 'file', 'tmpfile': 'file', 'opendir': 'folder', 'fifo': 'fifo'}
