"""The engine of a container on a volume."""
import os
import signal
import subprocess
import tempfile
import time


class EngineRoot:
    def __init__(self, job, volume, options=(), container='c'):
        self.job, self.options, self.container = job, list(options), container
        self.store = f'{volume.place}/store'
        self.path = f'{self.store}/root/{container}'
        self.pids = []

    def mount(self):
        os.makedirs(self.path, exist_ok=True)
        command = [self.job.engine, 'mount', '--store', self.store, '--container', self.container, '--mountpoint', self.path, *self.options]
        # No pipe: the engine that stays would keep it open.
        with tempfile.TemporaryFile('w+') as said:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False).returncode
            said.seek(0)
            if status:
                raise self.job.Failed(f'the root cannot be mounted: {said.read().strip()}')
        self.pids = read_pids(f'{self.store}/run/{self.container}/engine')

    def umount(self):
        subprocess.run(['umount', self.path], check=True)
        wait_for_all(self.pids)
        self.pids = []

    def kill(self):
        """As a power loss does; the mount is taken away, too."""
        kill_engine(self.pids)
        detach(self.path)
        self.pids = []


def end_engines(volume):
    """Kills whatever engines commands have started on the volume, and takes their mounts away. Nothing of the volume is read: it may be cut."""
    kill_engine(engines_of(f'{volume.place}/store'))
    with open('/proc/self/mounts') as f:
        mounts = [line.split()[1] for line in f]
    for place in reversed(mounts):
        if place.startswith(f'{volume.place}/'):
            detach(place)


def engines_of(store):
    """Holders first, or they would start other workers."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if store.encode() in f.read().split(b'\0') and is_engine(int(pid)):
                    found.append(int(pid))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return sorted(found, key=lambda pid: not children_of(pid))


def read_pids(path):
    try:
        with open(path) as f:
            state = dict(line.rstrip('\n').split(' ', 1) for line in f)
        return [int(state['holder']), int(state['worker'])]
    except (OSError, ValueError, KeyError):
        return []


def kill_engine(pids):
    if not pids:
        return
    # The holder first, or it would start another worker.
    pids = [pid for pid in dict.fromkeys((*pids, *(child for pid in pids for child in children_of(pid)))) if is_engine(pid)]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for_all(pids)


def detach(path):
    while subprocess.run(['umount', '-l', path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        pass


def wait_for_all(pids):
    for pid in pids:
        for _ in range(5000):
            if not is_engine(pid):
                break
            time.sleep(0.002)


def is_engine(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            name, rest = f.read().split('(', 1)[1].rsplit(')', 1)
        return name.startswith(('tplfs-', 'templatefs')) and rest.split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as f:
            return [int(word) for word in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
