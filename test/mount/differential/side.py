"""One actor's view of one of the two file systems: its descriptors, maps, sockets and current folder there."""
import errno
import os

from syscalls import unmap

OPERATIONS = {}  # name → function of a side and an operation
EFFECTS = {}  # name → what it may change: '' nothing, 'names', 'attributes' or 'content'


def operation(effect=''):
    """Registers a function as an operation by its name (without a `_` that keeps it apart from a builtin)."""
    def register(function):
        name = function.__name__.rstrip('_')
        OPERATIONS[name], EFFECTS[name] = function, effect
        return function
    return register


class Slot:
    """An open descriptor. `old` is what a file that may go on showing its old bytes held when it was opened."""

    def __init__(self, fd, writable):
        self.fd, self.writable, self.old, self.is_new = fd, writable, None, True


class Map:
    """A mapping made from a slot, with a descriptor of its own that tells the size."""

    def __init__(self, address, length, fd, writable, old):
        self.address, self.length, self.fd, self.writable, self.old = address, length, fd, writable, old

    def end(self):
        """How far it may be touched: stores and loads past the end of the file are SIGBUS."""
        size = min(self.length, os.fstat(self.fd).st_size)
        return size if self.old is None else min(size, len(self.old))


class Side:
    def __init__(self, name, base, settings):
        self.name, self.base, self.zero_devices, self.common = name, base, settings['zero_devices'], settings['common']
        self.is_root = name == 'root'
        self.base_fd = None
        self.cwd = None
        self.slots, self.maps, self.sockets = {}, {}, {}
        self.born = {}
        self.posix_locks = False

    def enter(self):
        """All paths are relative to the top, so that their lengths are the same on both sides."""
        if self.base_fd is None:
            self.base_fd = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY)
        os.fchdir(self.base_fd)

    def slot(self, op):
        if op['slot'] not in self.slots:
            raise OSError(errno.EBADF, 'no such slot')
        return self.slots[op['slot']]

    def fd(self, op):
        return self.slot(op).fd

    def take(self, op, fd, writable):
        self.drop(op['slot'])
        self.slots[op['slot']] = Slot(fd, writable)

    def drop(self, number):
        slot = self.slots.pop(number, None)
        if slot is not None:
            os.close(slot.fd)

    def map(self, op):
        if op['slot'] not in self.maps:
            raise OSError(errno.EBADF, 'no such map')
        return self.maps[op['slot']]

    def drop_map(self, number):
        mapped = self.maps.pop(number, None)
        if mapped is not None:
            unmap(mapped.address, mapped.length)
            os.close(mapped.fd)

    def move_to(self, fd):
        if self.cwd is not None:
            os.close(self.cwd)
        self.cwd = fd

    def leave(self):
        """Lets go of everything, so that the file system can be unmounted."""
        for number in list(self.slots):
            self.drop(number)
        for number in list(self.maps):
            self.drop_map(number)
        for node in self.sockets.values():
            node.close()
        self.sockets.clear()
        self.move_to(None)
        self.posix_locks = False
        if self.base_fd is not None:
            os.chdir('/')
            os.close(self.base_fd)
            self.base_fd = None
