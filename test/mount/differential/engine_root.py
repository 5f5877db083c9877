"""The mounted side: makes a container's private area, and starts, kills and remounts its engine."""
import os
import shutil
import signal
import subprocess
import time

PATTERN = 'pattern'  # a container that the command line made; the others are copies of its private area


class EngineRoot:
    def __init__(self, setting, name, mount_options):
        self.engine, self.store, self.name, self.options = setting.engine, setting.store, name, mount_options
        self.area = f'{self.store}/private/{name}'
        subprocess.run(['cp', '-a', f'{self.store}/private/{PATTERN}', self.area], check=True)
        with open(f'{self.area}/container') as f:
            settings = f.read().replace(f'\nname {PATTERN}\n', f'\nname {name}\n')
        with open(f'{self.area}/container', 'w') as f:
            f.write(settings)
        self.path = f'{self.store}/root/{name}'
        os.makedirs(self.path)
        self.mounted = False
        self.mount()

    def mount(self):
        subprocess.run([self.engine, 'mount', '--store', self.store, '--container', self.name, '--mountpoint', self.path, *self.options], check=True)
        self.mounted = True

    def _state(self):
        run = f'{self.store}/run/{self.name}'
        try:
            with open(f'{run}/engine') as f:
                return dict(line.rstrip('\n').split(' ', 1) for line in f)
        except FileNotFoundError:
            with open(f'{run}/log') as f:
                raise RuntimeError(f'the engine of {self.name} has given up: {f.read()[-2000:]}') from None

    def umount(self):
        holder = int(self._state()['holder'])
        subprocess.run(['umount', self.path], check=True)
        self.mounted = False
        wait_for_end(holder)

    def worker(self):
        return int(self._state()['worker'])

    def kill_worker(self):
        try:
            os.kill(self.worker(), signal.SIGKILL)
        except ProcessLookupError:
            pass  # dead already, and its successor not yet noted

    def destroy(self):
        if self.mounted:
            holder = int(self._state()['holder'])
            # Detached in any case: a failed run must not leave a mount.
            subprocess.run(['umount', '--lazy', self.path], check=True)
            wait_for_end(holder)
        shutil.rmtree(self.area)
        os.rmdir(self.path)


def wait_for_end(pid):
    for _ in range(6_000):
        try:
            with open(f'/proc/{pid}/stat') as f:
                if f.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.005)
    raise RuntimeError(f'process {pid} does not end')
