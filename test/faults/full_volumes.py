"""Commands on file systems that are really full, or become read-only.

Each command runs with so many bytes or inodes left that it cannot get far, a little farther, … up to nearly enough, and with the
file system read-only before it begins or from some moment on. It fails with a code, a message, a hint and the documented status;
what was there is as it was, what the command took is given back, and it succeeds as soon as there is room again.
"""
import json
import os
import random
import shutil
import subprocess
import tarfile
import time

from copy_commands import copy_commands, make_image
from package_commands import ChangeCommand, PackageCommand, package_commands
from package_stories import build_distribution, ends_of, fill
from stores import Fault, Store, check_error, error_of
from volume import Volume, run

WAYS = ('bytes', 'inodes', 'read-only', 'turns-read-only', 'breaks-off')
FULL = ['NO_SPACE']
# The package manager meets the full disk by itself; what it says is shown.
OF_PACKAGES = ['PACKAGE_MANAGER_FAILED']
# A command that was cut off in the middle of a call says what that call said.
PARTIAL = 3  # docs/cli.md
READ_ONLY = ['STORE_NOT_WRITABLE', 'IO_ERROR']
RESERVE = 64 << 20  # of src/store/object-batch.ts
# What a failed command may keep: the catalog's log, and a folder that grew.
SLACK = 192 << 10
HANG_S = 180
GOES_ANYWAY = ('destroy', 'template-remove', 'snapshot-remove')  # it is gone, even if not all of its space could be given back


class Command:
    def __init__(self, arguments, done, before=(), again=(), partly=False, tells=None):
        self.arguments, self.done, self.before = arguments, done, before
        self.environment = {}
        self.tells = tells      # whether its document says that something was left out
        self.again = again      # codes that say that it was done already
        self.partly = partly    # a program in the container, which says for itself what went wrong


def commands(store, base):
    tar, folder = f'{base}/source.tar', f'{base}/source'
    mounted = [('mount', 'c')]
    has = lambda name: lambda: name in store.names('template', 'list')
    return {
        'import-tar': Command(['template', 'import', 'new', tar], has('new'), again=['TEMPLATE_EXISTS']),
        'import-folder': Command(['template', 'import', 'new', folder], has('new'), again=['TEMPLATE_EXISTS']),
        'refresh': Command(['template', 'import', '--refresh', 'base', tar], lambda: [t['version'] for t in store.ok('template', 'list')][0] >= 2),
        'template-remove': Command(['template', 'remove', 'new'], lambda: not has('new')(), before=[('template', 'import', 'new', tar)], again=['TEMPLATE_NOT_FOUND']),
        'create': Command(['create', 'new', '--ostemplate', 'base'], lambda: 'new' in store.names('list'), again=['CONTAINER_EXISTS']),
        'mount': Command(['mount', 'c'], lambda: os.path.ismount(store.root())),
        'mount-first': Command(['mount', 'other'], lambda: os.path.ismount(store.root('other'))),
        'umount': Command(['umount', 'c'], lambda: not os.path.ismount(store.root()), before=mounted),
        'quota': Command(['quota', 'c', '--size', '50M'], lambda: store.ok('quota', 'c')['sizeBytes'] == 50 << 20),
        'quota-mounted': Command(['quota', 'c', '--inodes', '1000'], lambda: store.ok('quota', 'c')['inodes'] == 1000, before=mounted),
        'exec': Command(['exec', 'c', '--', '/bin/sh', '-c', PROGRAM], lambda: True, partly=True),
        'destroy': Command(['destroy', 'c'], lambda: 'c' not in store.names('list'), again=['CONTAINER_NOT_FOUND']),
        'gc': Command(['gc'], lambda: store.ok('gc', '--dry-run')['objects'] == 0, before=[('template', 'import', 'new', tar), ('template', 'remove', 'new')]),
        'verify': Command(['verify'], lambda: True),
        'repair': Command(['verify', '--repair'], lambda: True),
        'rebuild': Command(['catalog', 'rebuild'], lambda: store.names('list') == ['c', 'other']),
        'engine-upgrade': Command(['engine', 'upgrade', 'c'], lambda: True, before=mounted),
        'link': Command(['link', '--all'], lambda: not can_link(store), tells=left_alone),
        'link-mounted': Command(['link', '--all'], lambda: not can_link(store), before=mounted, tells=left_alone),
        **{name: Command(copy.arguments, copy.done, before=copy.before, again=copy.again) for name, copy in copy_commands(store, base, f'{base}/volume/target').items()},
        **package_commands(store, f'{base}/distribution'),
        'list': Command(['list'], lambda: True),
        'info': Command(['info', 'c'], lambda: True, before=mounted),
        'diff': Command(['diff', 'c'], lambda: True),
        'stats': Command(['stats'], lambda: True),
    }


def can_link(store):
    found = store.ok('link', '--all', '--dry-run')
    return found['adoptedFiles'] + found['mergedFiles'] > 0


def left_alone(document):
    return bool(document['skipped'] or document['failed'])


# Writes a new file in the container, with what a shell has built in; status 7 if something of it failed.
PROGRAM = 'i=0; mkdir_failed=; while [ $i -lt 200 ]; do printf "%4000d" $i || exit 7; i=$((i+1)); done > /data/new || exit 7'
COPIES = {'/data/same': b'same-' * 20_000, '/data/copy': b'9-' * (1 + 63_000), '/data/small': b'small'}
READ_ONLY_COMMANDS = ('verify', 'list', 'info', 'diff', 'stats')


def copy_shell(folder):
    """/bin/sh with the libraries that it needs."""
    shell = os.path.realpath('/bin/sh')
    for path in [shell, *(word for line in subprocess.run(['ldd', shell], stdout=subprocess.PIPE, text=True, check=False).stdout.splitlines() for word in line.split() if word.startswith('/'))]:
        os.makedirs(os.path.dirname(folder + path), exist_ok=True)
        shutil.copy(path, folder + path)
    if not os.path.lexists(f'{folder}/bin'):
        os.makedirs(f'{folder}/bin')
    if not os.path.exists(f'{folder}/bin/sh'):
        shutil.copy(shell, f'{folder}/bin/sh')


class FullVolumes:
    def __init__(self, base, kind, rng):
        self.base, self.kind, self.rng = base, kind, rng
        self.store = Store(f'{base}/volume/store')
        self.pattern = Volume(kind, f'{base}/pattern.img', f'{base}/volume')
        self.package_pattern = Volume(kind, f'{base}/package-pattern.img', f'{base}/volume')
        self.needs, self.took_s = {}, {}

    def make(self):
        source = f'{self.base}/source'
        os.makedirs(f'{source}/data')
        copy_shell(source)
        for i in range(20):
            with open(f'{source}/data/f{i}', 'wb') as f:
                f.write(b'%d-' % i * (1 + 7_000 * i))
        self.pattern.make()
        self.pattern.mount()
        try:
            for arguments in (('template', 'import', 'base', source), ('create', 'c', '--ostemplate', 'base'), ('create', 'other', '--ostemplate', 'base'), ('mount', 'c')):
                self.store.ok(*arguments)
            with open(f'{self.store.root()}/data/mine', 'w') as f:
                f.write('of the container')
            os.unlink(f'{self.store.root()}/data/f3')
            self.write_copies('c')
            self.store.ok('umount', 'c')
            self.store.ok('mount', 'other')
            self.write_copies('other')
            self.store.ok('umount', 'other')
            os.mkdir(f'{self.base}/volume/target')
            make_image(self.store, self.base)
        finally:
            self.store.end()
            self.pattern.umount()
        for i in range(30):
            with open(f'{source}/data/new{i}', 'wb') as f:
                f.write(b'n%d-' % i * (1 + 5_000 * i))
        with tarfile.open(f'{self.base}/source.tar', 'w') as tar:
            tar.add(source, arcname='.')

    def make_packages(self):
        distribution = f'{self.base}/distribution'
        build_distribution(distribution)

        def cli(*arguments, environment=None):
            self.store.environment = environment or {}
            return self.store.ok(*arguments)
        self.package_pattern.make()
        self.package_pattern.mount()
        try:
            PackageCommand.states = fill(cli, distribution)
        finally:
            self.store.end()
            self.package_pattern.umount()
        ChangeCommand.learnt.clear()

    def learn(self, name):
        """What a change of packages ends as when nothing is in its way."""
        for end in ends_of(name):
            command = commands(self.store, self.base)[end]
            for _ in range(2 if isinstance(command, PackageCommand) else 0):
                volume = self.start(command)
                try:
                    command.learn()
                finally:
                    self.end(volume)

    def write_copies(self, name):
        """What both containers have, and what is the template's: `link` has something to do."""
        for path, content in COPIES.items():
            with open(f'{self.store.root(name)}{path}', 'wb') as f:
                f.write(content)

    def start(self, command):
        """A volume as it is before the command."""
        pattern = self.package_pattern if isinstance(command, PackageCommand) else self.pattern
        volume = pattern.copy(f'{self.base}/case.img')
        volume.mount()
        try:
            self.store.environment = command.environment
            self.store.do(command.before)
            run('sync', '-f', volume.place)
        except BaseException:
            self.end(volume)
            raise
        return volume

    def end(self, volume, broken=False):
        if not broken:
            self.store.end()
        else:
            end_by_force(self.store)
        volume.umount()

    def needed(self, name):
        """What the command takes of the volume when there is enough: bytes, inodes."""
        if name not in self.needs:
            command = commands(self.store, self.base)[name]
            volume = self.start(command)
            try:
                bytes_before, inodes_before = volume.free_bytes(), volume.free_inodes()
                started = time.monotonic()
                self.store.run(*command.arguments)
                self.took_s[name] = time.monotonic() - started
                run('sync', '-f', volume.place)
                self.needs[name] = (max(bytes_before - volume.free_bytes(), 0) + (64 << 10), max(inodes_before - volume.free_inodes(), 0) + 8)
            finally:
                self.end(volume)
        return self.needs[name]

    def levels(self, name, way, count):
        need = self.needed(name)[0 if way == 'bytes' else 1]
        unit = 4096 if way == 'bytes' else 1
        levels = {0} | {self.rng.randrange(0, need // unit + 1) * unit for _ in range(count - 1)}
        if way == 'bytes' and name.startswith(('import', 'refresh', 'link')):
            # An import leaves some space free, so it gives up early with less.
            levels |= {RESERVE + self.rng.randrange(0, need // unit + 1) * unit for _ in range(count)}
        return sorted(levels)

    def run_full(self, name, way, level):
        command = commands(self.store, self.base)[name]
        volume = self.start(command)
        try:
            before = volume.free_bytes(), volume.free_inodes()
            if way == 'bytes':
                volume.fill_bytes(level)
            else:
                volume.fill_inodes(level)
            filled = volume.free_bytes(), volume.free_inodes()
            status, out, err = self.store.run(*command.arguments)
            if isinstance(command, PackageCommand):
                self.store.ok('list')
                volume.empty()
                command.judge(status, err, [*FULL, *OF_PACKAGES])
                return 'failed' if status else 'done'
            failed = self.judge(command, status, out, err, FULL)
            if failed and name in READ_ONLY_COMMANDS:
                raise Fault(f'{name} only looks, and fails: {err.strip()}')
            # What a program of the container has written before there was no room is the container's.
            if failed and not command.partly:
                self.check_given_back(name, volume, filled, way)
            # Looking works, however full it is.
            self.store.ok('list')
            volume.empty()
            self.check_works(name, command, failed)
            del before
        finally:
            self.end(volume)
        return 'failed' if failed else 'done'

    def judge(self, command, status, out, err, codes):
        """@returns whether it failed, as it should"""
        if command.tells and status in (0, PARTIAL) and command.tells(json.loads(out)):
            return True
        if status == 0:
            if not command.done():
                raise Fault('it says that it was done, and it is not')
            return False
        if command.partly and not error_of(err):
            said = any(text in err for text in ('No space left', 'Read-only file system', 'I/O error', 'Input/output error'))
            if status == 7 or (said and status < 128):
                return True
            raise Fault(f'the program ended with status {status}: {err.strip()}')
        check_error(status, err, codes)
        return True

    def check_given_back(self, name, volume, filled, way):
        self.store.check_leftovers()
        if name in ('backup', 'export', 'export-layout', 'bundle') and os.listdir(f'{volume.place}/target'):
            raise Fault(f'it has left {os.listdir(f"{volume.place}/target")}')
        run('sync', '-f', volume.place)
        took = filled[0] - volume.free_bytes() if way == 'bytes' else 0
        if took > SLACK:
            raise Fault(f'{took} bytes were not given back')

    def check_works(self, name, command, failed, after_cut=False):
        """What was there is there, and the command does what it could not do."""
        if name == 'rebuild' and error_of(self.store.run('list')[2]).get('code') == 'BAD_CATALOG':
            self.store.ok('catalog', 'rebuild')
        self.store.verify()
        if failed and name not in (*GOES_ANYWAY, 'exec', 'rebuild', 'engine-upgrade', 'umount', 'quota', 'quota-mounted', 'gc', 'repair') and not after_cut and name not in READ_ONLY_COMMANDS and command.done():
            raise Fault('it failed, and it was done')
        if 'other' not in self.store.names('list'):
            raise Fault('the other container is gone')
        status, out, err = self.store.run(*command.arguments)
        if status and not (error_of(err).get('code') in [*command.again] and (after_cut or not failed or name in GOES_ANYWAY)):
            raise Fault(f'with room again it ends with status {status}: {err.strip()} {out.strip()[:300]}')
        if not command.done():
            raise Fault('with room again it is not done')
        self.store.check_leftovers()
        self.store.verify()
        if name != 'destroy':
            self.check_container()

    def check_container(self):
        self.store.ok('mount', 'c')
        root = self.store.root()
        with open(f'{root}/data/mine') as f:
            if f.read() != 'of the container':
                raise Fault("the container's file is another one")
        if os.path.exists(f'{root}/data/f3'):
            raise Fault('a file that the container has deleted is back')
        for path, content in COPIES.items():
            with open(root + path, 'rb') as f:
                if f.read() != content:
                    raise Fault(f'{path} of the container is another one')
        with open(f'{root}/data/f7', 'rb') as f:
            if f.read() != b'7-' * (1 + 49_000):
                raise Fault('a file of the template is another one')
        self.store.ok('umount', 'c')

    def run_read_only(self, name):
        """Read-only before it begins."""
        command = commands(self.store, self.base)[name]
        if any(not callable(step) and step[0] == 'mount' for step in command.before):
            return None  # a file system with a mounted container has files open for writing
        volume = self.start(command)
        try:
            if not volume.remount('ro'):
                raise Fault('cannot be made read-only')
            status, _out, err = self.store.run(*command.arguments)
            failed = status != 0
            if isinstance(command, PackageCommand):
                self.store.ok('list')
                volume.remount('rw')
                command.judge(status, err, READ_ONLY)
                return 'failed' if status else 'done'
            if failed:
                check_error(status, err, READ_ONLY[:1])
                if name in READ_ONLY_COMMANDS:
                    raise Fault(f'{name} only looks, and fails: {err.strip()}')
            elif name not in READ_ONLY_COMMANDS and name != 'repair':
                if not command.done():
                    raise Fault('it says that it was done, and it is not')
            self.store.ok('list')
            self.store.end()
            volume.remount('rw')
            self.check_works(name, command, failed)
        finally:
            volume.remount('rw')
            self.end(volume)
        return 'failed' if failed else 'done'

    def run_turns_read_only(self, name, way):
        """Read-only from some moment on: as remounting waits for writers, or at once, as after an error of the file system."""
        command = commands(self.store, self.base)[name]
        volume = self.start(command)
        broken = way == 'breaks-off'
        try:
            process = self.store.start(*command.arguments)
            started = time.monotonic()
            delay = self.rng.uniform(0.1, max(0.75, 1.1 * self.took_s.get(name, 0)))
            turned = False
            while process.poll() is None:
                if time.monotonic() - started >= delay and not turned:
                    if broken:
                        volume.break_off()
                        turned = True
                    else:
                        turned = volume.remount('ro')
                time.sleep(0.002)
                if time.monotonic() - started > HANG_S:
                    process.kill()
                    raise Fault('it hangs')
            if broken and not turned:
                volume.break_off()
            process.err.seek(0)
            err = process.err.read()
            status = process.returncode
            if status and (turned or broken) and not (command.partly and not error_of(err)):
                check_error(status, err)
            elif status and not command.partly:
                raise Fault(f'it fails with nothing wrong: {err.strip()}')
            if broken:
                self.end(volume, broken=True)
                volume.repair()
                volume.mount()
            else:
                self.store.end()
                volume.remount('rw')
            if isinstance(command, PackageCommand):
                command.judge(status, err, was_cut=True)
            else:
                self.check_works(name, command, status != 0, after_cut=True)
        finally:
            if not broken:
                volume.remount('rw')
            self.end(volume)
        return 'failed' if status else 'done'


def end_by_force(store):
    """Of a store that nobody can write to any more."""
    for name in os.listdir(f'{store.path}/root'):
        store.run('umount', name, '--force')
        subprocess.run(['umount', '-l', store.root(name)], stderr=subprocess.DEVNULL, check=False)
    for name in os.listdir(f'{store.path}/run') if os.path.isdir(f'{store.path}/run') else ():
        wait_for_engine(f'{store.path}/run/{name}/engine')


def wait_for_engine(path):
    try:
        with open(path) as f:
            holder = int(dict(line.rstrip('\n').split(' ', 1) for line in f)['holder'])
    except (OSError, ValueError, KeyError):
        return
    for _ in range(1000):
        try:
            with open(f'/proc/{holder}/comm') as f:
                if not f.read().startswith('tplfs'):
                    return
        except OSError:
            return
        time.sleep(0.01)


def run_all(base, kinds, ways, names, count, seed, report):
    """@returns cases, failures"""
    cases = failures = 0
    for kind in kinds:
        rng = random.Random(seed)
        place = f'{base}/{kind}'
        os.makedirs(place)
        volumes = FullVolumes(place, kind, rng)
        try:
            volumes.make()
            known = commands(volumes.store, place)
            chosen = names or list(known)
            if any(isinstance(known[name], PackageCommand) for name in chosen):
                volumes.make_packages()
            for name in chosen:
                volumes.learn(name)
                for way in ways:
                    if kind != 'ext4' and way in ('inodes', 'breaks-off'):
                        continue
                    levels = volumes.levels(name, way, count) if way in ('bytes', 'inodes') else range(1 if way == 'read-only' else max(1, count // 2))
                    for level in levels:
                        what = f'{kind}, {name}, {way} {level}'
                        cases += 1
                        try:
                            if way in ('bytes', 'inodes'):
                                ended = volumes.run_full(name, way, level)
                            elif way == 'read-only':
                                ended = volumes.run_read_only(name)
                            else:
                                ended = volumes.run_turns_read_only(name, way)
                            report(f'{what}: {ended}')
                        except (Fault, RuntimeError, OSError, subprocess.SubprocessError) as fault:
                            failures += 1
                            print(f'{what}: {fault}', flush=True)
        finally:
            volumes.pattern.detach()
    return cases, failures
