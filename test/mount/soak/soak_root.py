"""One mounted root, and the processes of its engine."""
import json
import os
import signal
import socket
import struct
import subprocess
import time

from engine_root import wait_for_end
from setting import CLI

TAKE_OVER = 20  # seconds after which a worker that has not followed is a failure, on any machine


class SoakRoot:
    def __init__(self, setting, name, options):
        self.store, self.name, self.options, self.engine = setting.store, name, options, setting.engine
        self.path = f'{self.store}/root/{name}'
        self.killed = set()
        self._templatefs('create', name, '--ostemplate', 'template')

    def _templatefs(self, *arguments):
        # The engine under test also where the command line starts one.
        environment = {**os.environ, 'TEMPLATEFS_ENGINE': self.engine}
        ended = subprocess.run([CLI, '--store', self.store, '--json', *arguments], env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise OSError(f'`templatefs {" ".join(arguments)}` failed with status {ended.returncode}: {ended.stderr}')
        return ended.stdout

    def mount(self):
        os.makedirs(self.path, exist_ok=True)
        subprocess.run([self.engine, 'mount', '--store', self.store, '--container', self.name, '--mountpoint', self.path, *self.options], check=True)
        self.holder = int(self.state()['holder'])
        self.killed.clear()

    def info(self):
        return json.loads(self._templatefs('info', self.name))

    def state(self):
        with open(f'{self.store}/run/{self.name}/engine') as f:
            return dict(line.rstrip('\n').split(' ', 1) for line in f)

    def status(self):
        """What the engine says of itself: docs/protocols/control.md."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(f'{self.store}/run/{self.name}/control')
            control.sendall(struct.pack('<I', 7) + b'status\0')
            reply = b''
            while piece := control.recv(65536):
                reply += piece
        first, *fields = reply[4:].decode().split('\0')
        if first != 'ok':
            raise OSError(f'the engine of {self.name} answers {first} {fields}')
        return dict(field.split('=', 1) for field in fields if field)

    def umount(self):
        subprocess.run(['umount', self.path], check=True)
        wait_for_end(self.holder)

    def destroy(self):
        self._templatefs('destroy', self.name, '--force')

    def worker(self):
        """The pid that serves the root, once there is one that was not killed yet: what `info` gives as enginePid."""
        return self._wait_for(lambda: int(self.state()['worker']))

    def starting_worker(self):
        """The same, as soon as it exists: before it serves, and before anybody can ask for it."""
        return self._wait_for(self._child)

    def _child(self):
        with open(f'/proc/{self.holder}/task/{self.holder}/children') as f:
            return next((pid for pid in map(int, f.read().split()) if pid not in self.killed), None)

    def _wait_for(self, find):
        deadline = time.monotonic() + TAKE_OVER
        while (pid := find()) is None or pid in self.killed:
            if time.monotonic() > deadline:
                raise TimeoutError(f'no worker of {self.name} has taken over within {TAKE_OVER} s')
            time.sleep(0.0003)
        return pid

    def kill(self, pid):
        self.killed.add(pid)
        os.kill(pid, signal.SIGKILL)

    def end_engine(self):
        """Whoever hangs in a request of this root gets an error."""
        for pid in (self.holder, *filter(None, [self._child()])):
            os.kill(pid, signal.SIGKILL)
