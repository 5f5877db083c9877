"""A file system on a loop device whose power can be cut."""
import array
import fcntl
import os
import subprocess
import time

# include/uapi/linux/ext4.h and fs/xfs/libxfs/xfs_fs.h: the same number and the same flags.
SHUTDOWN = 0x8004587D
CUTS = {'lose-log': 2, 'flush-log': 1}  # NOLOGFLUSH: what is in memory is gone; LOGFLUSH: metadata is kept, data is not
MAKE = {
    'ext4': ['mkfs.ext4', '-q', '-F', '-b', '4096', '-I', '256', '-J', 'size=16', '-E', 'lazy_itable_init=0'],
    'xfs': ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'],
    'xfs-no-reflink': ['mkfs.xfs', '-q', '-f', '-m', 'reflink=0'],
}
SIZE = 320 << 20


def type_of(kind):
    return kind.split('-')[0]


def run(*command):
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f'`{" ".join(command)}` failed with status {ended.returncode}: {ended.stdout.strip()}')
    return ended.stdout


class Volume:
    """An image with a file system. `mount` after `cut` is what a restart after a power loss is."""

    def __init__(self, kind, image, place):
        self.kind, self.image, self.place = kind, image, place

    def make(self, size=SIZE):
        with open(self.image, 'wb') as f:
            f.truncate(size)
        run(*MAKE[self.kind], self.image)

    def copy(self, image, place):
        """The same, in another image."""
        run('cp', '--sparse=always', self.image, image)
        return Volume(self.kind, image, place)

    def mount(self):
        os.makedirs(self.place, exist_ok=True)
        # Copies of one image have one UUID, and XFS would mount only one of them at a time.
        options = 'loop,nouuid' if type_of(self.kind) == 'xfs' else 'loop'
        run('mount', '-t', type_of(self.kind), '-o', options, self.image, self.place)

    def cut(self, how, fd=None):
        """From now on nothing of this file system reaches the image."""
        own = fd if fd is not None else os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(own, SHUTDOWN, array.array('I', [CUTS[how]]))
        finally:
            if fd is None:
                os.close(own)

    def umount(self):
        """Waits for whoever still holds it; backing files of a dead connection go a moment after it."""
        for attempt in range(400):
            ended = subprocess.run(['umount', self.place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if ended.returncode == 0:
                return
            if 'not mounted' in ended.stdout:
                return
            time.sleep(0.005 if attempt < 100 else 0.05)
        raise RuntimeError(f'cannot unmount {self.place}: {ended.stdout.strip()}')

    def detach(self):
        subprocess.run(['umount', '-l', self.place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
