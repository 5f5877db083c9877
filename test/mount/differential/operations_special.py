"""Operations on current folders, pipes, sockets, programs and locks."""
import errno
import fcntl
import os
import shutil
import socket
import stat
import struct

from compare import show
from draw import choose
from side import operation
from syscalls import F_OFD_GETLK, F_OFD_SETLK


@operation()
def chdir(side, op):
    os.chdir(op['path'])
    side.move_to(os.open('.', os.O_PATH))


@operation('names')
def inside(side, op):
    """Something in the current folder, which may have been moved or removed by now."""
    if side.cwd is None:
        return 'nowhere'
    if os.fstat(side.cwd).st_nlink == 0:  # see differences.py: its ACLs are gone, and with them what they allow
        return show(os.fstat(side.cwd))
    os.fchdir(side.cwd)
    name = choose(op, 0, ['f0', 'new1', 'f1'])
    return choose(op, 5, [
        lambda: sorted(os.listdir('.')), lambda: show(os.stat('.')), lambda: show(os.stat('..')), lambda: os.mkdir(name), lambda: os.unlink(name),
        lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK, 0o644)), lambda: os.rename(name, '../new3'), lambda: os.rmdir('../' + name),
        lambda: os.chmod('.', 0o775), lambda: sorted(os.listxattr('.')), lambda: show(os.lstat(name)), lambda: os.symlink('x', name),
        lambda: os.setxattr('.', 'user.one', b'inside'), lambda: os.utime('.', ns=(5, 5)), lambda: os.link('../f0', name),
    ])()


@operation()
def fifo(side, op):
    if not stat.S_ISFIFO(os.stat(op['path']).st_mode):
        return 'other'
    side.take(op, os.open(op['path'], choose(op, 0, [os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDONLY]) | os.O_NONBLOCK), False)


def pipe_end(side, op):
    fd = side.fd(op)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        raise OSError(errno.EMEDIUMTYPE, 'no pipe')
    return fd


@operation()
def fiforead(side, op):
    return os.read(pipe_end(side, op), 500)


@operation()
def fifowrite(side, op):
    return os.write(pipe_end(side, op), b'through a pipe' * (op['n'] % 30 + 1))


@operation('names')
def bind(side, op):
    node = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        node.bind(os.fsencode(op['path']))
        node.listen(8)
    except OSError as e:
        node.close()
        raise OSError(e.errno or errno.ENAMETOOLONG, 'bind') from e
    old = side.sockets.pop(op['slot'], None)
    if old is not None:
        old.close()
    side.sockets[op['slot']] = node


@operation()
def connect(_side, op):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as node:
        try:
            node.connect(os.fsencode(op['path']))
        except OSError as e:
            raise OSError(e.errno or errno.ENAMETOOLONG, 'connect') from e


def start(path, standard_input):
    actions = [(os.POSIX_SPAWN_DUP2, standard_input, 0), (os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, '/dev/null', os.O_WRONLY, 0)]
    return os.posix_spawn(path, ['cat'], {}, file_actions=actions)


@operation()
def execute(_side, op):
    path = choose(op, 0, [op['path'], os.path.dirname(op['path']).split('/')[0] + '/blocks/prog', os.path.dirname(op['path']).split('/')[0] + '/blocks/script'])
    nothing = os.open('/dev/null', os.O_RDONLY)
    try:
        return os.waitpid(start(path, nothing), 0)[1]
    finally:
        os.close(nothing)


@operation('names')
def busy(_side, op):
    """A program that runs cannot be opened for writing, and one that is open for writing cannot run."""
    program, results = op['path'] + '.prog', []
    shutil.copyfile('/bin/busybox', program)
    os.chmod(program, 0o755)

    def attempt(step):
        try:
            results.append(step())
        except OSError as e:
            results.append(errno.errorcode.get(e.errno, e.errno))

    reader, writer = os.pipe()
    writing = os.open(program, os.O_WRONLY)
    attempt(lambda: start(program, reader))
    os.close(writing)
    child = start(program, reader)
    for step in (lambda: os.close(os.open(program, os.O_WRONLY)), lambda: os.truncate(program, 5), lambda: os.chmod(program, 0o711), lambda: os.rename(program, program + '2'),
                 lambda: os.close(os.open(program + '2', os.O_RDWR)), lambda: os.unlink(program + '2')):
        attempt(step)
    os.close(writer)
    attempt(lambda: os.waitpid(child, 0)[1])
    os.close(reader)
    return results


@operation()
def flock(side, op):
    if side.slot(op).old is not None:
        return 'left out'  # see differences.py
    fcntl.flock(side.fd(op), choose(op, 0, [fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN]) | fcntl.LOCK_NB)


def lock_record(op):
    kind = choose(op, 0, [fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK, fcntl.F_WRLCK])
    return struct.pack('<hhxxxxqqixxxx', kind, os.SEEK_SET, op['n'] % 300, choose(op, 5, [0, 10, 1000]), 0)


@operation()
def lock(side, op):
    if side.slot(op).old is not None:
        return 'left out'
    ofd = op['n'] & 1
    fcntl.fcntl(side.fd(op), F_OFD_SETLK if ofd else fcntl.F_SETLK, lock_record(op))
    # Any close of the file by the same process would drop it: see actor.py.
    side.posix_locks = side.posix_locks or not ofd


@operation()
def getlock(side, op):
    if side.slot(op).old is not None:
        return 'left out'
    if lock_record(op)[:2] == struct.pack('<h', fcntl.F_UNLCK):
        return 'nothing asked'
    return struct.unpack('<hhxxxxqqixxxx', fcntl.fcntl(side.fd(op), F_OFD_GETLK if op['n'] & 1 else fcntl.F_GETLK, lock_record(op)))
