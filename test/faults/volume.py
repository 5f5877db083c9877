"""A file system on a loop device that can be filled up to the last block or inode, and made read-only."""
import glob
import os
import subprocess
import time

MAKE = {
    'ext4': ['mkfs.ext4', '-q', '-F', '-b', '4096', '-I', '256', '-m', '0', '-J', 'size=4', '-N', '4096', '-E', 'lazy_itable_init=0'],
    'xfs': ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'],
    'btrfs': ['mkfs.btrfs', '-q', '-f'],
}
SIZE = {'ext4': 256 << 20, 'xfs': 320 << 20, 'btrfs': 256 << 20}
OPTIONS = {'ext4': 'loop,errors=remount-ro', 'xfs': 'loop,nouuid', 'btrfs': 'loop'}


def run(*command):
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f'`{" ".join(command)}` failed with status {ended.returncode}: {ended.stdout.strip()}')
    return ended.stdout


class Volume:
    def __init__(self, kind, image, place):
        self.kind, self.image, self.place = kind, image, place

    def make(self):
        with open(self.image, 'wb') as f:
            f.truncate(SIZE[self.kind])
        run(*MAKE[self.kind], self.image)

    def copy(self, image):
        """The same in another image; one that is still held by somebody is not written over."""
        if os.path.exists(image):
            os.unlink(image)
        run('cp', '--sparse=always', self.image, image)
        return Volume(self.kind, image, self.place)

    def mount(self):
        os.makedirs(self.place, exist_ok=True)
        run('mount', '-t', self.kind, '-o', OPTIONS[self.kind], self.image, self.place)

    def umount(self):
        """Waits for whoever still holds it; backing files of a dead connection go a moment after it."""
        for attempt in range(400):
            ended = subprocess.run(['umount', self.place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if ended.returncode == 0 or 'not mounted' in ended.stdout:
                return
            time.sleep(0.005 if attempt < 100 else 0.05)
        raise RuntimeError(f'cannot unmount {self.place}: {ended.stdout.strip()}')

    def detach(self):
        subprocess.run(['umount', '-l', self.place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def free_bytes(self):
        found = os.statvfs(self.place)
        return found.f_bfree * found.f_bsize

    def free_inodes(self):
        return os.statvfs(self.place).f_ffree

    @property
    def ballast(self):
        return f'{self.place}/ballast'

    def fill_bytes(self, left=0):
        """Leaves `left` bytes free, as exactly as the file system allows."""
        os.makedirs(self.ballast, exist_ok=True)
        run('sync', '-f', self.place)
        piece = 64 << 20
        number = 0
        while piece >= 4096:
            free = self.free_bytes()
            if free <= left:
                break
            size = min(piece, (free - left) & ~4095)
            path = f'{self.ballast}/{number}'
            try:
                with open(path, 'wb') as f:
                    os.posix_fallocate(f.fileno(), 0, size)
                number += 1
                if size == piece:
                    continue
            except OSError:
                # It has kept what it could get.
                if os.path.exists(path) and os.stat(path).st_blocks == 0:
                    os.unlink(path)
                number += 1
            piece //= 2
        run('sync', '-f', self.place)

    def fill_inodes(self, left=0):
        """Leaves `left` inodes free. Only where their number is fixed (ext4)."""
        os.makedirs(self.ballast, exist_ok=True)
        number = 0
        while self.free_inodes() > left:
            try:
                os.close(os.open(f'{self.ballast}/i{number}', os.O_CREAT | os.O_WRONLY))
            except OSError:
                break
            number += 1

    def empty(self):
        """Takes the ballast away."""
        for path in glob.glob(f'{self.ballast}/*'):
            os.unlink(path)
        if os.path.isdir(self.ballast):
            os.rmdir(self.ballast)

    def remount(self, how):
        return subprocess.run(['mount', '-o', f'remount,{how}', self.place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def break_off(self):
        """ext4 meets an error, as when its disk gives nonsense, and goes read-only under whoever uses it."""
        with open(f'/sys/fs/ext4/{self.device()}/trigger_fs_error', 'w') as f:
            f.write('a test')

    def device(self):
        number = os.stat(self.place).st_dev
        return os.path.basename(os.path.realpath(f'/sys/dev/block/{os.major(number)}:{os.minor(number)}'))

    def repair(self):
        """After break_off(), unmounted: what an administrator does."""
        # Another mount namespace that was just made may hold it a little longer.
        for _ in range(600):
            if not run('losetup', '-j', self.image):
                break
            time.sleep(0.1)
        ended = subprocess.run(['e2fsck', '-f', '-y', self.image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if ended.returncode > 1:
            raise RuntimeError(f'e2fsck says {ended.returncode}: {ended.stdout.strip()}')
