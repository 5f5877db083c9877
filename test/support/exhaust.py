"""What a container can do many times in its root, to see that nothing grows without bound: exhaust.py VERB ROOT COUNT

Prints one line when it is done, and for `hold` waits for a line on stdin before it lets go.
"""

import errno
import fcntl
import os
import resource
import sys


def folder_of(root, number):
    return f"{root}/many/{number // 1000}"


def missing(root, count):
    """Look-ups of names that do not exist."""
    for number in range(count):
        try:
            os.lstat(f"{root}/missing-{number}")
            raise SystemExit(f"missing-{number} is there")
        except FileNotFoundError:
            pass


def files(root, count):
    """New files, each opened once, written and closed."""
    for number in range(count):
        if number % 1000 == 0:
            os.makedirs(folder_of(root, number), exist_ok=True)
        os.close(os.open(f"{folder_of(root, number)}/{number}", os.O_CREAT | os.O_WRONLY, 0o644))


def until_refused(root, count):
    """New files, all of them held by O_PATH descriptors, until the engine has no room for more: prints the errno."""
    held = []
    os.makedirs(f"{root}/held", exist_ok=True)
    for number in range(count):
        try:
            os.mknod(f"{root}/held/{number}", 0o100644)
            held.append(os.open(f"{root}/held/{number}", os.O_PATH))
        except OSError as error:
            print(errno.errorcode[error.errno], number, flush=True)
            # What it has goes on working, and can be removed.
            os.fstat(held[0])
            os.listdir(root)
            for done in range(number):
                os.close(held[done])
                os.unlink(f"{root}/held/{done}")
            if os.path.lexists(f"{root}/held/{number}"):
                os.unlink(f"{root}/held/{number}")
            os.mknod(f"{root}/held/again", 0o100644)
            return
    print("none", flush=True)


def look(root, count):
    """Look-ups of all those files."""
    for number in range(count):
        os.lstat(f"{folder_of(root, number)}/{number}")


def opens(root, count):
    """Opens of one file after the other, for reading and for writing."""
    there = sum(len(names) for _, _, names in os.walk(f"{root}/many"))
    for number in range(count):
        path = f"{folder_of(root, number % there)}/{number % there}"
        os.close(os.open(path, os.O_RDWR if number % 2 else os.O_RDONLY))


def hold(root, count):
    """So many files open at once, as many in each process as it may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    share = min(most - 100, 12000)
    children = []
    for first in range(0, count, share):
        ready, told = os.pipe()
        wait, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            held = [os.open(f"{folder_of(root, number)}/{number}", os.O_RDONLY) for number in range(first, min(first + share, count))]
            os.write(told, b"x")
            os.read(wait, 1)
            os._exit(0 if held else 1)
        os.close(told)
        os.close(wait)
        if os.read(ready, 1) != b"x":
            raise SystemExit("a process could not open its files")
        children.append((pid, go))
    print("held", flush=True)
    sys.stdin.readline()
    # Later ones have inherited the ends of those before: nobody is waited for until all are let go.
    for _, go in children:
        os.close(go)
    for pid, _ in children:
        os.waitpid(pid, 0)


def links(root, count):
    """Hard links, on several files, as a file system has a limit for each."""
    os.makedirs(f"{root}/links", exist_ok=True)
    for number in range(count):
        source = f"{root}/links/of-{number // 30000}"
        if number % 30000 == 0:
            os.close(os.open(source, os.O_CREAT | os.O_WRONLY))
        os.link(source, f"{root}/links/{number}")


def xattrs(root, count):
    """Attributes of ever new names, set, read and removed."""
    path = f"{root}/xattrs"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    for number in range(count):
        name = f"user.n{number}"
        os.setxattr(path, name, b"value")
        os.getxattr(path, name)
        os.removexattr(path, name)


def deep(root, count):
    """A folder in a folder in a folder, with long names."""
    at = os.open(root, os.O_RDONLY)
    for _ in range(count):
        os.mkdir("d" * 100, dir_fd=at)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=at))


def locks(root, count):
    """Locks of ranges of one file."""
    with open(f"{root}/locks", "w") as file:
        for number in range(count):
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * number)


def list_all(root, count):
    """Listings of a large folder."""
    os.makedirs(f"{root}/large", exist_ok=True)
    for number in range(count):
        os.mknod(f"{root}/large/{number}", 0o100644)
    found = 0
    for _ in range(3):
        found = len([entry for entry in os.scandir(f"{root}/large") if entry.stat(follow_symlinks=False)])
    if found != count:
        raise SystemExit(f"{found} of {count} files are listed")


VERBS = {"missing": missing, "files": files, "look": look, "opens": opens, "hold": hold, "links": links, "xattrs": xattrs,
         "deep": deep, "locks": locks, "list": list_all, "until-refused": until_refused}

if __name__ == "__main__":
    VERBS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print("done", flush=True)
