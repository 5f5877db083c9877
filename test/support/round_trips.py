"""What a client does in a scenario of test/mount/round-trips.test.ts: always the same system calls, and nothing else on the root.

    round_trips.py SCENARIO FOLDER COUNT
"""

import os
import sys


def names(folder, count):
    return [os.path.join(folder, f'f{number:03}') for number in range(count)]


def stat(folder, count):
    for path in names(folder, count):
        os.stat(path)


def missing(folder, count):
    for path in names(folder, count):
        for _ in range(2):
            try:
                os.stat(path + '-is-not-there')
            except FileNotFoundError:
                pass


def read(folder, count):
    for path in names(folder, count):
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)


def overwrite(folder, count):
    for path in names(folder, count):
        fd = os.open(path, os.O_WRONLY)
        os.write(fd, b'x' * 4096)
        os.close(fd)


def create(folder, count):
    for number in range(count):
        fd = os.open(os.path.join(folder, f'new-{number:03}'), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b'x' * 4096)
        os.close(fd)


def rename(folder, count):
    for path in names(folder, count):
        os.rename(path, path + '-renamed')


def unlink(folder, count):
    for path in names(folder, count):
        os.unlink(path)


def readdir(folder, count):
    for _ in range(2):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if len(os.listdir(fd)) != count:
            sys.exit('another number of entries')
        os.close(fd)


def symlinks(folder, count):
    for path in names(folder, count):
        os.readlink(path)


{function.__name__: function
 for function in (stat, missing, read, overwrite, create, rename, unlink, readdir, symlinks)}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
