"""Asks an engine to make a link of a private file, as `templatefs link` does: docs/protocols/control.md."""
import os
import socket
import struct
import subprocess
import time

# Each try that goes on with a large file, or that finds no worker because it was killed, is one.
TRIES = 10_000


def objects_of_template(engine, store):
    """The object of each path of the only tree of a store."""
    tree = os.path.join(store, 'trees', os.listdir(os.path.join(store, 'trees'))[0])
    found = {}
    for line in subprocess.run([engine, 'dump', tree], capture_output=True, text=True, check=True).stdout.splitlines():
        fields = line.split(' ')
        if fields[10].startswith('object='):
            found[fields[0]] = fields[10][len('object='):]
    return found


def request_merge(store, container, status, path, obj, budget=100_000):
    """The engine's answer; asked again after a worker was killed, and until a large file is done.

    `status`: what stat(2) says of the file. @raises RuntimeError for an answer that is none, ConnectionError when nobody answers
    """
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    fields = ['merge', f'budget={budget}', f'{status.st_ino} {status.st_size} {seconds}.{nanoseconds:09d} {obj} {path}']
    body = b''.join(os.fsencode(field) + b'\0' for field in fields)
    for _ in range(TRIES):
        try:
            reply = exchange(f'{store}/run/{container}', struct.pack('<I', len(body)) + body)
        except (ConnectionError, FileNotFoundError):
            time.sleep(0.002)
            continue
        answer = reply[4:-1].split(b'\0')
        if answer[0] != b'ok':
            raise RuntimeError(f'merge answers {answer}')
        text = answer[1].decode().split('=', 1)[1]
        if not text.startswith('more'):
            return text
    raise ConnectionError('merging does not end')


def exchange(folder, frame):
    # A socket's path must be short, and that of a test's store need not be.
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(f'/proc/self/fd/{held}/control')
            connection.sendall(frame)
            reply = b''
            while len(reply) < 4 or len(reply) < 4 + struct.unpack('<I', reply[:4])[0]:
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionResetError
                reply += piece
            return reply
    finally:
        os.close(held)
