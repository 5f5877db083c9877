"""What a root must hold after each operation, and so what it may hold after a power loss.

Names and metadata: both file systems journal in order, and templatefs changes them by steps that come one after the
other, so after a cut they are those after some operation that is not older than the last one that was made durable.
Content: each sector holds what it held after the last durable operation on it, or anything that it was given later.
"""
import bisect
import os
import stat

SECTOR = 512


class Inode:
    """One file, by all its names."""

    def __init__(self, number, entry, data=None, since=0):
        self.number = number
        self.entry = entry  # (type, mode, uid, gid, xattrs, target, rdev)
        # An inode is made empty, and may be found so: that is older than the operation that made it.
        self.versions = [(since - 1, data)] if data is not None else []
        self.durable = []  # (operation, start, end): what was made durable when
        self.size_durable = since - 1
        self.touched = since  # the last operation that changed metadata or names
        self.names_touched = since  # folders: the last operation that changed an entry of it
        self.made = since
        self.times_kept = since == 0  # nothing was done to it that changes its mtime
        self.ino = None

    @property
    def data(self):
        return self.versions[-1][1]


class Model:
    def __init__(self):
        self.names = {'': None}  # path → Inode
        self.inodes = []
        self.history = []  # after each operation: path → (inode, entry, nlink, st_ino; None if that was never told)
        self.durable = 0  # no state before this operation may be seen

    def add(self, path, entry, data=None, since=0):
        inode = Inode(len(self.inodes), entry, data, since)
        self.inodes.append(inode)
        self.names[path] = inode
        return inode

    def snapshot(self):
        counts = {}
        for inode in self.names.values():
            counts[inode.number] = counts.get(inode.number, 0) + 1
        return {path: (inode.number, inode.entry, 1 if inode.entry[0] == stat.S_IFDIR else counts[inode.number], inode.ino) for path, inode in self.names.items()}

    def commit(self):
        self.history.append(self.snapshot())

    def paths(self, kind):
        return [path for path, inode in self.names.items() if inode.entry[0] == kind]

    def below(self, path):
        return [name for name in self.names if name.startswith(path + '/')]


def parent(path):
    return path.rpartition('/')[0]


def entry_of(path):
    """What a look at a host path finds: compared with what the model holds."""
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    xattrs = tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False) if name.startswith('user.')))
    target = os.readlink(path) if kind == stat.S_IFLNK else None
    return (kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, xattrs, target, status.st_rdev), status


def walk(base):
    """path → (entry, status, content) of everything below `base`."""
    found = {}
    folders = ['']
    while folders:
        folder = folders.pop()
        entry, status = entry_of(os.path.join(base, folder))
        found[folder] = (entry, status, None)
        for name in os.listdir(os.path.join(base, folder)):
            path = f'{folder}/{name}' if folder else name
            whole = os.path.join(base, path)
            entry, status = entry_of(whole)
            if entry[0] == stat.S_IFDIR:
                folders.append(path)
                continue
            data = None
            if entry[0] == stat.S_IFREG:
                with open(whole, 'rb') as f:
                    data = f.read()
            found[path] = (entry, status, data)
    return found


def initial(found):
    """The model of an untouched root, from a walk of it."""
    model = Model()
    known = {}
    for path, (entry, status, data) in sorted(found.items()):
        if status.st_ino in known:
            model.names[path] = known[status.st_ino]
        else:
            known[status.st_ino] = model.add(path, entry, data)
            known[status.st_ino].ino = status.st_ino
    model.commit()
    return model


def check(model, found, tolerant):
    """Compares what was found with what may be there.

    `tolerant`: of each operation, the paths that may be half made while it runs.
    @returns None or what is wrong
    """
    state = match_names(model, found, tolerant)
    if isinstance(state, str):
        return state
    by_number = {}
    for path, (number, *_rest) in model.history[state].items():
        if path in found:
            by_number.setdefault(number, path)
    for number, path in by_number.items():
        inode = model.inodes[number]
        _entry, status, data = found[path]
        if inode.ino is not None and status.st_ino != inode.ino:
            return f'{path}: inode number {status.st_ino} instead of {inode.ino}'
        if data is not None and not path.startswith('sqlite/') and 'rows.sqlite' not in path:
            wrong = check_content(inode, data)
            if wrong:
                return f'{path} (inode {number}): {wrong}'
            if inode.times_kept and inode.entry[0] == stat.S_IFREG and status.st_mtime_ns != 10**18 + 5:
                return f'{path}: its mtime {status.st_mtime_ns} is not that of the template, and nothing changed it'
    inos = {}
    for path, (_entry, status, _data) in found.items():
        number = model.history[state].get(path, (None,))[0]
        if number is not None and inos.setdefault(status.st_ino, number) != number:
            return f'{path}: two files have the inode number {status.st_ino}'
    return None


def match_names(model, found, tolerant):
    """@returns the operation after which names and metadata are those found, or what is wrong"""
    seen = {path: (entry, 1 if entry[0] == stat.S_IFDIR else status.st_nlink, status.st_ino) for path, (entry, status, _data) in found.items()}
    newest = len(model.history) - 1
    best = None
    for at in range(newest, model.durable - 1, -1):
        differences = compare(seen, model.history[at])
        if at + 1 <= newest and differences:
            loose = tolerant.get(at + 1)
            if loose:
                differences = {path for path in differences if not excused(path, seen, model.history[at], model.history[at + 1], loose)}
        if not differences:
            return at
        if best is None or len(differences) < len(best[1]):
            best = at, differences
    at, differences = best
    lines = [f'{path!r}: found {seen.get(path)}, expected {strip(model.history[at].get(path))}' for path in sorted(differences)[:6]]
    older = next((k for k in range(model.durable - 1, -1, -1) if not compare(seen, model.history[k])), None)
    hint = f'; it is the state after operation {older}, but {model.durable} was durable' if older is not None else ''
    return f'names and metadata are those of no operation from {model.durable} to {newest}{hint}; nearest {at}:\n  ' + '\n  '.join(lines)


def strip(entry):
    return None if entry is None else entry[1:]


def compare(seen, state):
    return {path for path in seen.keys() | state.keys() if not is_same(seen.get(path), state.get(path))}


def is_same(has, wanted):
    """Also by its number: two files may differ in nothing else that is compared here."""
    if has is None or wanted is None:
        return has is wanted
    return has[:2] == wanted[1:3] and wanted[3] in (None, has[2])


def excused(path, seen, before, after, loose):
    """Whether an operation that was cut short may look like that: in its own paths only, and never worse than half."""
    has = seen.get(path)
    if has is not None and is_same(has, after.get(path)):
        return loose['mixed']
    if path in loose['undressed'] and has is not None:
        wanted = after.get(path)
        return wanted is not None and wanted[1][0] == has[0][0]
    old = before.get(path)
    if has is None or old is None or old[0] not in loose['counts']:
        return False
    # A name more in the count, of a file that is being linked: the name comes before or after.
    return has[0] == old[1] and abs(has[1] - old[2]) <= 1


def check_content(inode, data):
    operations = [operation for operation, _data in inode.versions]
    newest = inode.versions[-1][1]
    if data == newest:
        return None
    since = max(bisect.bisect_right(operations, inode.size_durable) - 1, 0)
    sizes = [len(version) for _operation, version in inode.versions[since:]]
    if not min(sizes) <= len(data) <= max(sizes):
        return f'{len(data)} bytes; since operation {operations[since]} it had from {min(sizes)} to {max(sizes)}'
    for start in range(0, len(data), SECTOR):
        end = min(start + SECTOR, len(data))
        piece = data[start:end]
        if len(newest) >= end and newest[start:end] == piece:
            continue
        covering = max((operation for operation, low, high in inode.durable if low <= start and high >= end), default=0)
        first = max(bisect.bisect_right(operations, covering) - 1, 0)
        if not any_holds(inode.versions[first:], start, piece):
            return f'bytes {start} to {end}: {piece[:16].hex()}…, which nothing since operation {operations[first]} wrote: ' + ', '.join(
                f'{operation} {version[start:start + 16].hex() or "-"}' for operation, version in inode.versions[first:][-4:])
    return None


def any_holds(versions, start, piece):
    end = start + len(piece)
    cut = [version[start:end] for _operation, version in versions]
    if any(short[:len(piece)] == piece for short in cut):
        return True
    # Space that was new since then reads as zeros until its data is there: as on the file system below.
    padded = [short + bytes(len(piece) - len(short)) for short in cut]
    if any(len(short) < len(piece) for short in cut):
        padded.append(bytes(len(piece)))
    # A page may have been on its way to the disk while it was written to: word by word.
    return all(any(piece[at:at + 8] == version[at:at + 8] for version in padded) for at in range(0, len(piece), 8))
