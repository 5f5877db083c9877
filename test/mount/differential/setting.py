"""Where a run takes place: file systems of its own on a loop device, a store with the template imported, a plain copy beside."""
import os
import shutil
import subprocess
import tempfile

import template
from engine_root import PATTERN
from model import entries_of
from syscalls import enter_mount_namespace

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../../..'))
CLI = f'{PROJECT}/bin/templatefs'
SIZE = 8 << 30  # sparse: it takes what is written


class SettingError(Exception):
    """Something that the test needs is missing."""


class Setting:
    """Use as a context manager: everything is taken away at the end."""

    def __init__(self, engine, folder=None, store_folder=None, build=template.build):
        self.engine, self.folder, self.store_folder, self.build = engine, folder, store_folder, build
        self.base, self.broken = None, None
        self.store = f'{store_folder}/store'

    def __enter__(self):
        for path, hint in ((self.engine, 'run `npm run build`'), (template.BUSYBOX, 'install busybox-static, or run `npm run setup`')):
            if not os.path.exists(path):
                raise SettingError(f'{path} is missing\n  hint: {hint}')
        if os.geteuid() != 0:
            raise SettingError('this test mounts file systems\n  hint: run it as root')
        # Sandboxes and tests that make mount namespaces meanwhile would hold our mounts until they end.
        enter_mount_namespace()
        self.base = tempfile.mkdtemp(prefix='templatefs-differential-', dir=self.folder)
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        os.chmod(self.base, 0o711)
        place = self.base
        if self.folder is None:
            place = self._make_file_system()
        self.template, self.work = f'{place}/template', f'{place}/work'
        if self.store_folder is None:
            self.store = f'{place}/store'
        os.mkdir(self.template)
        os.mkdir(self.work, 0o711)
        self.build(self.template)
        self.entries = entries_of(self.template)
        for arguments in (('template', 'import', 'template', self.template), ('create', PATTERN, '--ostemplate', 'template')):
            ended = subprocess.run([CLI, '--store', self.store, *arguments], stdout=subprocess.DEVNULL, check=False)
            if ended.returncode:
                raise SettingError(f'`templatefs {" ".join(arguments)}` failed with status {ended.returncode}')
        os.makedirs(f'{self.store}/root', exist_ok=True)

    def _make_file_system(self):
        """ext4 with blocks of 4 KiB and inodes of 256 bytes (times until 2446), so that nothing depends on the host's."""
        image, place = f'{self.base}/image', f'{self.base}/ext4'
        with open(image, 'wb') as f:
            f.truncate(SIZE)
        os.mkdir(place)
        for command in (['mkfs.ext4', '-q', '-b', '4096', '-I', '256', '-N', '500000', '-E', 'lazy_itable_init=1', image], ['mount', '-o', 'loop,barrier=0', image, place]):
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if ended.returncode:
                raise SettingError(f'`{" ".join(command)}` failed: {ended.stdout.strip()}\n  hint: --folder DIR takes a folder of an ext4 file system instead of a loop device')
        os.chmod(place, 0o711)
        return place

    def verify(self):
        """@returns what `templatefs verify` finds, or None: no run may have touched what is shared"""
        ended = subprocess.run([CLI, '--store', self.store, 'verify'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return None if ended.returncode == 0 else ended.stdout

    def __exit__(self, *_error):
        if self.base is None:
            return
        # Roots that a failed run left, then the loop device below them; they vanish with their last user.
        with open('/proc/self/mounts') as f:
            mounts = [line.split()[1] for line in f]
        for path in reversed(mounts):
            if path.startswith((f'{self.base}/', f'{self.store}/')):
                subprocess.run(['umount', '--lazy', path], check=False)
        shutil.rmtree(self.base)
        if self.store_folder is not None:
            shutil.rmtree(self.store, ignore_errors=True)
