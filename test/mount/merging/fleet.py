"""Containers that each install the same, and are merged while they work.

    npm run test:merging -- --fleet
    npm run test:merging -- --fleet --containers 4 --packages php-cli --tar debian.tar --file-system xfs

Each container runs the same real `apt-get install` by itself, from packages that are downloaded once. Then `templatefs link --all` makes
one of what they have, while in each of them a reader verifies, a writer writes, files are mapped, locks of all kinds are held, and SQLite
commits (fleet_work.py). What all of them take of the disk is to be that of one, within 5 %; everything that stat(2), listxattr(2) and
read(2) say of each file is to be what it was, also after a remount; `verify` is to find nothing; and pages of what was merged are to be in
memory once. apt is set up as in the templates of this project: without its binary caches, of which no two are equal.
"""
import glob
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time

from fleet_work import Work, prepare

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TEMPLATE = 'debian-12-x86_64'
SHARE = 1.05  # of what one takes
VOLUME_BYTES = 24 << 30
MAKE = {'ext4': ['mkfs.ext4', '-q', '-F', '-m', '0'], 'xfs': ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1']}
WORK_FOLDER = '/var/lib/fleet'
CHANGED = (os.path.dirname(WORK_FOLDER),)
# As templates/debian-12-x86_64/os/default/post-cache writes it, for a root from elsewhere.
APT_CONFIGURATION = '/etc/apt/apt.conf.d/02no-binary-caches'
NO_BINARY_CACHES = 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
APT = 'apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install /mnt/*.deb > /dev/null'


class Problem(Exception):
    """Something is not as it must be."""


def add_options(parser):
    group = parser.add_argument_group('--fleet')
    group.add_argument('--fleet', action='store_true', help='containers that each install the same, in place of random steps')
    group.add_argument('--containers', type=int, default=10)
    group.add_argument('--packages', default='g++ git', help='what each of them installs')
    group.add_argument('--packages-folder', help='where downloaded packages are kept for the next time')
    group.add_argument('--tar', help='a Debian root to import; else it is bootstrapped')
    parser.add_argument('--file-system', choices=sorted(MAKE), help='of the store: on a volume of its own (--fleet: ext4 if left out)')
    parser.add_argument('--folder', help='where the store is, or the image of its volume')


def run(*command, **options):
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if ended.returncode:
        raise Problem(f'`{" ".join(command)[:300]}` ended with {ended.returncode}: {ended.stderr[-3000:]}{ended.stdout[-1000:]}')
    return ended.stdout


def make_volume(folder, kind):
    """@returns where a new file system is mounted, to be taken away by `remove_volume`"""
    image, place = f'{folder}/image', f'{folder}/volume'
    with open(image, 'wb') as f:
        f.truncate(VOLUME_BYTES)
    run(*MAKE[kind], image)
    os.mkdir(place)
    run('mount', '-o', 'loop', image, place)
    return place


def remove_volume(place):
    """Waits for whoever still holds it."""
    for _ in range(100):
        if subprocess.run(['umount', place], capture_output=True, check=False).returncode == 0 or not os.path.ismount(place):
            break
        time.sleep(0.1)


class Fleet:
    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.volume = f'{folder}/volume'
        self.store = f'{self.volume}/store'
        self.engine = os.environ.get('TEMPLATEFS_ENGINE', f'{PROJECT}/build/Release/templatefs-engine')
        self.names = [f'c{number}' for number in range(options.containers)]

    def cli(self, *arguments):
        return run(f'{PROJECT}/bin/templatefs', '--store', self.store, *arguments)

    def json(self, *arguments):
        return json.loads(self.cli('--json', *arguments))

    def link(self):
        """@returns what it says, and how long the command took, with the start of Node.js"""
        started = time.monotonic()
        return self.json('link', '--all'), time.monotonic() - started

    def root(self, name):
        return f'{self.store}/root/{name}'

    def begin(self):
        make_volume(self.folder, self.options.file_system or 'ext4')
        if self.options.tar:
            self.cli('template', 'import', TEMPLATE, self.options.tar)
        else:
            self.cli('template', 'create', TEMPLATE)
        for name in self.names:
            self.cli('create', name, '--ostemplate', TEMPLATE)
            self.cli('mount', name)
            if not os.path.exists(self.root(name) + APT_CONFIGURATION):
                with open(self.root(name) + APT_CONFIGURATION, 'w') as f:
                    f.write(NO_BINARY_CACHES)

    def end(self):
        for name in self.names:
            subprocess.run([f'{PROJECT}/bin/templatefs', '--store', self.store, 'umount', name, '--force'], capture_output=True, check=False)
        remove_volume(self.volume)
        shutil.rmtree(self.folder, ignore_errors=True)

    def used(self):
        """Bytes of the volume, all of it on the disk."""
        # Twice: what is freed by a transaction of the journal is free when it is committed.
        for _ in range(2):
            run('sync', '-f', self.volume)
        found = os.statvfs(self.volume)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    # ---- installing

    def download(self):
        """@returns a folder with the packages, downloaded once by the host's apt for what the template has"""
        kept = self.options.packages_folder or f'{self.folder}/packages'
        if glob.glob(f'{kept}/*.deb'):
            return kept
        os.makedirs(f'{kept}/partial', exist_ok=True)
        shutil.copy(f'{self.root(self.names[0])}/var/lib/dpkg/status', f'{kept}/status')
        options = [f'Dir::State::status={kept}/status', f'Dir::Cache::archives={kept}/', 'Debug::NoLocking=1', 'APT::Sandbox::User=root', 'Acquire::Retries=3']
        run('apt-get', '-qq', '-y', '--no-install-recommends', '--download-only', *(word for option in options for word in ('-o', option)),
            'install', *self.options.packages.split())
        return kept

    def install(self, name, packages):
        """apt-get in the container, by itself."""
        sandbox = ['--bind', self.root(name), '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/run', '--ro-bind', packages, '/mnt',
                   '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--cap-add', 'ALL', '--die-with-parent']
        run('bwrap', *sandbox, '--', 'sh', '-ec', APT, env={'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C', 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'})

    # ---- what a container sees

    def look(self, name):
        """path → all that is to stay as it is"""
        root, seen, found = self.root(name), {}, {}
        folders = ['']
        while folders:
            folder = folders.pop()
            for entry in os.scandir(root + folder if folder else root):
                path = f'{folder}/{entry.name}'
                if path == WORK_FOLDER:
                    continue
                status = entry.stat(follow_symlinks=False)
                if path in CHANGED:  # by this test
                    folders.append(path)
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(path)
                found[path] = (*facts(status), xattrs(entry.path), os.readlink(entry.path) if entry.is_symlink() else None)
                if stat.S_ISREG(status.st_mode):
                    if status.st_ino not in seen:
                        seen[status.st_ino] = digest(entry.path)
                    found[path] += (seen[status.st_ino],)
        return found

    def compare(self, before, when):
        for name in self.names:
            now = self.look(name)
            for path in before[name].keys() | now.keys():
                if before[name].get(path) != now.get(path):
                    raise Problem(f'{name}: {path} was {before[name].get(path)}, and is {now.get(path)} {when}')

    # ---- where the space goes

    def account(self):
        """Bytes of the disk by what they are for, all containers together."""
        sums = {}
        for name in self.names:
            top = f'{self.store}/private/{name}'
            for folder, folders, files in os.walk(top):
                for entry in (*folders, *files):
                    path = os.path.join(folder, entry)
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        kind = 'links' if is_link(path) else 'private ' + '/'.join(os.path.relpath(path, top).split('/')[1:5])
                    else:
                        kind = 'folders' if stat.S_ISDIR(status.st_mode) else 'others'
                    sums[kind] = sums.get(kind, 0) + status.st_blocks * 512
            sums['inodes'] = sums.get('inodes', 0) + sum(len(folders) + len(files) for _folder, folders, files in os.walk(top))
        return sums

    def check_page_cache(self):
        """Reads the largest merged files through all roots: their pages are the object's."""
        objects = {}
        for path in glob.glob(f'{self.store}/objects/*/*'):
            objects.setdefault(os.path.getsize(path), []).append(path)
        tops = [f'{self.root(self.names[0])}{top}' for top in ('/usr/lib', '/usr/bin')]
        files = sorted((os.path.join(folder, name) for top in tops for folder, _folders, names in os.walk(top) for name in names), key=lambda path: -os.lstat(path).st_size)
        checked = 0
        for path in files[:200]:
            own = path[len(self.root(self.names[0])):]
            private = [f'{self.store}/private/{name}/root{own}' for name in self.names]
            if os.path.islink(path) or not all(os.path.exists(each) and os.lstat(each).st_blocks <= 8 for each in private):
                continue
            roots = [self.root(name) + own for name in self.names]
            for each in roots:
                digest(each)
            candidates = [each for each in objects.get(os.path.getsize(path), []) if digest(each) == digest(path)]
            said = subprocess.run([self.engine, 'resident'], input=''.join(f'{each}\0' for each in (*candidates, *roots)), capture_output=True, text=True, check=True)
            resident = [int(word) for word in said.stdout.split()]
            if len(candidates) != 1 or resident[0] == 0 or any(resident[1:]):
                raise Problem(f'pages of {own}: {resident} bytes of {candidates} and in the roots')
            checked += 1
            if checked == 10:
                return checked
        if checked == 0:
            raise Problem('no merged file is there whose pages could be looked at')
        return checked


def facts(status):
    return (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev,
            status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def xattrs(path):
    return tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False)))


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'md5').hexdigest()


def is_link(path):
    """Whether the content of a private area's file is an object's: docs/formats/private-area.md."""
    try:
        return os.getxattr(path, 'trusted.templatefs.node', follow_symlinks=False)[1] == 1
    except OSError:
        return False


def megabytes(count):
    return f'{count / 1e6:.1f} MB'


def main(options, folder):
    fleet = Fleet(folder, options)
    works, failures = [], []
    started = time.monotonic()
    say = lambda text: print(f'fleet: {int(time.monotonic() - started)}s: {text}', flush=True)
    try:
        fleet.begin()
        packages = fleet.download()
        empty = fleet.used()
        for name in fleet.names:
            fleet.install(name, packages)
            if name == fleet.names[0]:
                one = fleet.used() - empty
                say(f'one container takes {megabytes(one)}')
        for name in fleet.names:
            prepare(fleet.root(name) + WORK_FOLDER)
        separate = fleet.used() - empty
        say(f'{len(fleet.names)} take {megabytes(separate)}')
        before = {name: fleet.look(name) for name in fleet.names}
        say('they were looked at')
        works = [Work(fleet.root(name), WORK_FOLDER, number) for number, name in enumerate(fleet.names)]
        time.sleep(2)
        linked, first_seconds = fleet.link()
        say(f'link: {linked["adoptedFiles"]} adopted, {linked["mergedFiles"]} merged, {linked["keptFiles"]} of them in use, {len(linked["skipped"])} left alone, '
            f'{megabytes(linked["savedBytes"])} saved, {megabytes(linked["readBytes"])} read, {first_seconds:.2f} s')
        while_used = fleet.used() - empty
        say(f'while they work they take {megabytes(while_used)}')
        fleet.compare(before, 'after link')
        say('nothing else has changed')
        pages = fleet.check_page_cache()
        counts = [work.end() for work in works]
        works = []
        say('work: ' + ', '.join(f'{sum(each[what] for each in counts)} {what}' for what in counts[0]))
        again, again_seconds = fleet.link()
        say(f'link again, after that work: {again["adoptedFiles"]} adopted, {again["mergedFiles"]} merged, {megabytes(again["savedBytes"])} saved, {again_seconds:.2f} s')
        unchanged, unchanged_seconds = fleet.link()
        say(f'link of what has not changed: {unchanged["unchanged"]} unchanged, {unchanged_seconds:.2f} s, {100 * unchanged_seconds / first_seconds:.1f} % of the first')
        if unchanged['unchanged'] != len(fleet.names) or unchanged['readBytes'] != 0:
            raise Problem(f'a run over an unchanged fleet has read {unchanged["readBytes"]} bytes, and found {unchanged["unchanged"]} containers unchanged')
        for entry in (*linked['skipped'], *again['skipped']):
            if not entry['path'].startswith(WORK_FOLDER) and entry['reason'] not in ('has file capabilities',):
                say(f'left alone: {entry}')
        for name in fleet.names:
            shutil.rmtree(fleet.root(name) + WORK_FOLDER)
        all_of_them = fleet.used() - empty
        say(f'all take {megabytes(all_of_them)}: {100 * all_of_them / one:.1f} % of one')
        for kind, count in sorted(fleet.account().items(), key=lambda item: -item[1])[:14]:
            say(f'  {kind}: {count if kind == "inodes" else megabytes(count)}')
        for name in fleet.names:
            fleet.cli('umount', name)
            fleet.cli('mount', name)
        fleet.compare(before, 'after a remount')
        if problems := fleet.json('verify')['problems']:
            raise Problem(f'verify finds {problems}')
        last = f'{len(fleet.names)} containers, {megabytes(separate)} became {megabytes(all_of_them)}, one took {megabytes(one)}; pages of {pages} files shared'
        if all_of_them > SHARE * one:
            raise Problem(f'{len(fleet.names)} containers take {100 * all_of_them / one:.1f} % of what one takes')
    except (Problem, OSError, RuntimeError, subprocess.SubprocessError) as error:
        failures.append(error)
        last = 'it failed'
    finally:
        for work in works:
            try:
                work.end()
            except RuntimeError as error:
                failures.append(error)
        fleet.end()
    for failure in failures:
        print(f'wrong: {failure}', file=sys.stderr)
    print(f'fleet: {last}, {len(failures)} errors')
    return 1 if failures else 0
