"""One cut while a command of the command line runs: it was done, or was not begun; and it can be done again."""
import os
import random
import shutil
import subprocess
import tarfile
import time

import template
from engine import EngineRoot, end_engines
from model import check, initial, walk
from roots import Failed, end, said_until_end, start_noise

GONE_WAIT_S = 60


class Command:
    """A command, what it needs before, and how to see whether it was done."""

    def __init__(self, arguments, done, before=(), then=(), again=None, allowed=(), mounted=False, breaks=False, shares=False):
        self.arguments, self.before, self.done, self.mounted = arguments, before, done, mounted
        self.then = then  # commands, or functions of a volume, after the container has written what it has
        self.shares = shares  # containers have files that are equal to one another's and to the template's
        self.breaks = breaks  # an object, whose content the container keeps in a file of its own
        self.again = again or arguments
        self.allowed = allowed  # codes that say that it was done already


def make_sources(job):
    """A tar with contents that the store has, and others."""
    if os.path.exists(job.path('source.tar')):
        return
    folder = job.path('source')
    template.build(folder)
    for i in range(40):
        with open(f'{folder}/usr/new{i}', 'wb') as f:
            f.write(template.content(500 + i, 0, 0, 1000 * i + 1))
    with tarfile.open(job.path('source.tar'), 'w') as tar:
        tar.add(folder, arcname='.')


def has_template(job, volume, name):
    return any(entry['name'] == name for entry in job.cli(volume, 'template', 'list'))


def template_version(job, volume, name):
    return next(entry['version'] for entry in job.cli(volume, 'template', 'list') if entry['name'] == name)


def has_container(job, volume, name):
    return any(entry['name'] == name for entry in job.cli(volume, 'list'))


def has_garbage(job, volume):
    found = job.cli(volume, 'gc', '--dry-run')
    return found['objects'] > 0 or found['trees'] > 0


def break_object(volume, rng):
    """Flips bytes of an object. @returns its content as it was"""
    objects = sorted(os.path.join(folder, name) for folder, _folders, names in os.walk(f'{volume.place}/store/objects') for name in names)
    with open(rng.choice([path for path in objects if os.path.getsize(path) > 0]), 'r+b') as f:
        content = f.read()
        f.seek(rng.randrange(len(content)))
        at = f.tell()
        f.write(bytes(byte ^ 0x55 for byte in content[at:at + 5000]))
        f.flush()
        os.fsync(f.fileno())
    return content


def can_link(job, volume):
    found = job.cli(volume, 'link', '--all', '--dry-run')
    return found['adoptedFiles'] + found['mergedFiles'] > 0


def fill_shares(root):
    """Files that are equal to the template's, to one another, and to those of the next container."""
    for name in ('page', 'odd', 'large'):
        shutil.copyfile(f'{root}/usr/a/{name}', f'{root}/data/{name}')
    for i, size in enumerate((1, 100, 9000, 40_000, 70_001, 600_000)):
        for name in (f'first{i}', f'second{i}'):
            with open(f'{root}/data/{name}', 'wb') as f:
                f.write(template.content(700 + i, 0, 0, size))
    os.link(f'{root}/data/first2', f'{root}/usr/another-name')
    os.chown(f'{root}/data/second3', 1000, 5)
    os.chmod(f'{root}/data/second3', 0o4755)
    os.setxattr(f'{root}/data/second4', 'user.note', b'of the container')
    os.utime(f'{root}/data/first4', ns=(10**18, 10**18 + 7))
    with open(f'{root}/usr/a/middle', 'r+b'):
        pass  # private now, and equal to the object that it was


def check_shares(before, found, since_ns, name):
    """All is as it was. Only the mtime of a file that was being merged may be that of the merging: docs/merging.md"""
    if before.keys() != found.keys():
        raise Failed(f'{name}: names {sorted(before.keys() ^ found.keys())[:5]} came or went')
    for path, (entry, status, data) in before.items():
        entry_now, now, data_now = found[path]
        # The size of a folder is that of the host's, as soon as there is one.
        if (entry, status.st_ino, status.st_nlink, data) != (entry_now, now.st_ino, now.st_nlink, data_now):
            same = 'with the same' if data == data_now else 'with another'
            raise Failed(f'{name}: {path} was {entry} {status}, and is {entry_now} {now}, {same} content')
        if now.st_mtime_ns != status.st_mtime_ns and now.st_mtime_ns < since_ns:
            raise Failed(f'{name}: {path} has the mtime {now.st_mtime_ns}; it was {status.st_mtime_ns}, and the merging began at {since_ns}')


def has_snapshot(job, volume):
    return any(one['id'] == 's' for one in job.cli(volume, 'snapshot', 'list', 'c'))


def change(job, volume):
    """What `restore` has to undo."""
    with open(f'{job.cli(volume, "mount", "c")["root"]}/data/since', 'w') as f:
        f.write('since then')
    job.cli(volume, 'umount', 'c')


def is_changed(job, volume):
    found = os.path.exists(f'{job.cli(volume, "mount", "c")["root"]}/data/since')
    job.cli(volume, 'umount', 'c')
    return found


def has_copy(job, volume):
    """Of what the container has made durable, too."""
    if not has_container(job, volume, 'new'):
        return False
    with open(f'{job.cli(volume, "mount", "new")["root"]}/usr/a/page', 'rb') as f:
        if f.read(7) != b'changed':
            raise Failed('the copy does not have what the container has')
    job.cli(volume, 'umount', 'new')
    return True


def backup_of(volume):
    return f'{volume.place}/c.backup'


def has_backup(job, volume):
    """Whole, if it has its name."""
    if not os.path.exists(backup_of(volume)):
        return False
    job.cli(volume, 'restore', backup_of(volume), '--name', 'probe')
    job.cli(volume, 'destroy', 'probe')
    return True


def quota_of(job, volume, name):
    return job.cli(volume, 'quota', name)['sizeBytes']


def commands(job):
    make_sources(job)
    tar, folder = job.path('source.tar'), job.path('source')
    big = str(100 << 20)
    return {
        'import-tar': Command(['template', 'import', 'new', tar], lambda v: has_template(job, v, 'new'), allowed=['TEMPLATE_EXISTS']),
        'import-folder': Command(['template', 'import', 'new', folder], lambda v: has_template(job, v, 'new'), allowed=['TEMPLATE_EXISTS']),
        'refresh': Command(['template', 'import', '--refresh', 'base', tar], lambda v: template_version(job, v, 'base') >= 2),
        'template-remove': Command(['template', 'remove', 'new'], lambda v: not has_template(job, v, 'new'), before=[['template', 'import', 'new', tar]], allowed=['TEMPLATE_NOT_FOUND']),
        'create': Command(['create', 'new', '--ostemplate', 'base', '--quota-size', '50M'], lambda v: has_container(job, v, 'new'), allowed=['CONTAINER_EXISTS']),
        'destroy': Command(['destroy', 'c'], lambda v: not has_container(job, v, 'c'), allowed=['CONTAINER_NOT_FOUND']),
        'quota': Command(['quota', 'c', '--size', big], lambda v: quota_of(job, v, 'c') == 100 << 20),
        'quota-mounted': Command(['quota', 'c', '--size', big], lambda v: quota_of(job, v, 'c') == 100 << 20, mounted=True),
        'gc': Command(['gc'], lambda v: not has_garbage(job, v), before=[['template', 'import', 'new', tar], ['template', 'remove', 'new']]),
        'repair-from-container': Command(['verify', '--repair'], lambda v: True, breaks=True),
        'repair-from-source': Command(['verify', '--repair', '--source', tar], lambda v: True, breaks=True, mounted=True),
        'rebuild': Command(['catalog', 'rebuild'], lambda v: True),
        'link': Command(['link', '--all'], lambda v: not can_link(job, v), shares=True),
        'link-mounted': Command(['link', '--all'], lambda v: not can_link(job, v), shares=True, mounted=True),
        'snapshot': Command(['snapshot', 'c', '--name', 's'], lambda v: has_snapshot(job, v), allowed=['SNAPSHOT_EXISTS']),
        'snapshot-mounted': Command(['snapshot', 'c', '--name', 's'], lambda v: has_snapshot(job, v), allowed=['SNAPSHOT_EXISTS'], mounted=True),
        'snapshot-remove': Command(['snapshot', 'remove', 'c', 's'], lambda v: not has_snapshot(job, v), then=[['snapshot', 'c', '--name', 's']], allowed=['SNAPSHOT_NOT_FOUND']),
        'restore': Command(['restore', 'c', 's'], lambda v: not is_changed(job, v), then=[['snapshot', 'c', '--name', 's'], lambda v: change(job, v)]),
        'clone': Command(['clone', 'c', 'new'], lambda v: has_copy(job, v), allowed=['CONTAINER_EXISTS']),
        'clone-mounted': Command(['clone', 'c', 'new'], lambda v: has_copy(job, v), allowed=['CONTAINER_EXISTS'], mounted=True),
        'commit': Command(['commit', 'c', 'new'], lambda v: has_template(job, v, 'new'), allowed=['TEMPLATE_EXISTS']),
        'backup': Command(lambda v: ['backup', 'c', backup_of(v)], lambda v: has_backup(job, v)),
        'restore-backup': Command(lambda v: ['restore', backup_of(v), '--name', 'new'], lambda v: has_copy(job, v), then=[lambda v: job.cli(v, 'backup', 'c', backup_of(v))], allowed=['CONTAINER_EXISTS']),
        'mount': Command(['mount', 'c'], lambda v: True),
        'umount': Command(['umount', 'c'], lambda v: True, mounted=True),
    }


class CommandCut:
    """One run; `execute` returns None or raises Failed."""

    def __init__(self, job, seed, name=None):
        self.job, self.seed, self.name = job, seed, name
        self.rng = random.Random(seed)

    def execute(self):
        job, rng = self.job, self.rng
        known = commands(job)
        self.name = self.name or rng.choice(list(known))
        command = known[self.name]
        volume = job.fresh_volume()
        if callable(command.arguments):
            command.arguments = command.again = command.arguments(volume)
        engine = EngineRoot(job, volume)
        noise, self.held = None, None
        try:
            for arguments in command.before:
                job.cli(volume, *arguments)
            if command.shares:
                self.fill_shares(volume, engine, command.mounted)
            else:
                self.fill(engine, command.mounted, break_object(volume, rng) if command.breaks else None)
            for step in command.then:
                if callable(step):
                    step(volume)
                else:
                    job.cli(volume, *step)
            noise = start_noise(volume, rng)
            done = self.run_and_cut(volume, command)
        finally:
            if noise is not None:
                end(noise)
            if self.held is not None:
                self.held.close()
            end_engines(volume)
            engine.kill()
            volume.umount()
        self.look(volume, command, done)

    def fill(self, engine, stays, content):
        """What a container has written and made durable before the command; with a file that holds `content`."""
        engine.mount()
        if content is not None:
            with open(f'{engine.path}/data/copy', 'wb') as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
        with open(f'{engine.path}/usr/a/page', 'r+b') as f:
            f.write(b'changed')
            f.flush()
            os.fsync(f.fileno())
        os.mkdir(f'{engine.path}/data/new')
        if not stays:
            engine.umount()

    def fill_shares(self, volume, engine, stays):
        """Two containers that have written the same, durably. If `stays`, one is mounted, and somebody reads one of the files."""
        self.shares = {}
        for container in ('second', 'c'):
            if container == 'second':
                self.job.cli(volume, 'create', container, '--ostemplate', 'base')
            root = engine if container == 'c' else EngineRoot(self.job, volume, container=container)
            root.mount()
            with open(f'{root.path}/usr/a/page', 'r+b') as f:
                f.write(b'changed')
            fill_shares(root.path)
            # Times are those of now as soon as nothing is open for writing.
            self.shares[container] = walk(root.path)
            if container != 'c' or not stays:
                root.umount()
        if stays:
            self.held = open(f'{engine.path}/data/first5', 'rb')  # pylint: disable=consider-using-with
            self.held.read(1)
        subprocess.run(['sync', '-f', volume.place], check=True)
        self.since_ns = time.time_ns() - 10**8  # file systems' clocks go by ticks

    def check_all_shares(self, volume):
        for container, before in self.shares.items():
            root = EngineRoot(self.job, volume, container=container)
            try:
                root.mount()
                check_shares(before, walk(root.path), self.since_ns, f'{self.name}, {container}')
                root.umount()
            finally:
                root.kill()

    def run_and_cut(self, volume, command):
        """@returns whether the command said that it was done"""
        rng, took_s = self.rng, self.job.durations.get(self.name, 0.4)
        fd = os.open(volume.place, os.O_RDONLY | os.O_DIRECTORY)
        process = self.job.command(volume, *command.arguments)
        started = time.monotonic()
        # Most of the time goes before the first change; after the end there is something to lose, too.
        delay_s = took_s * rng.uniform(0.3, 1.15)
        try:
            process.wait(delay_s)
            time.sleep(max(0, started + delay_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        done = process.poll() == 0
        volume.cut(rng.choice(['lose-log', 'lose-log', 'flush-log']), fd)
        os.close(fd)
        err = said_until_end(process, self.name, GONE_WAIT_S)
        if process.returncode == 0 and done:
            self.job.durations[self.name] = 0.8 * took_s + 0.2 * max(0.1, min(delay_s, 1.0))
        elif not done:
            self.job.durations[self.name] = min(took_s * 1.05, 3.0)
        if '    at ' in err:
            raise Failed(f'{self.name}: the command said: {err}')
        return done

    def look(self, volume, command, done):
        job = self.job
        job.reboot()
        volume.mount()
        try:
            if self.name == 'rebuild' and job.cli(volume, 'list', allowed=['BAD_CATALOG']) == 'BAD_CATALOG':
                job.cli(volume, 'catalog', 'rebuild')
            if done or not command.breaks:
                job.verify(volume)
            if command.shares:
                self.check_all_shares(volume)
            if done and not command.done(volume):
                raise Failed(f'{self.name} said that it was done, and it is not')
            job.cli(volume, *command.again, allowed=command.allowed)
            if not command.done(volume):
                raise Failed(f'{self.name} was done again, and it is not')
            if command.mounted or self.name == 'mount':
                job.cli(volume, 'umount', 'c')
            job.verify(volume)
            if command.shares:
                self.check_all_shares(volume)
            self.check_roots(volume)
            left = os.listdir(f'{volume.place}/store/staging')
            if self.name.startswith(('import', 'refresh')) and left:
                raise Failed(f'{self.name} left {left} in staging')
        finally:
            end_engines(volume)
            volume.umount()

    def check_roots(self, volume):
        """The container that nothing was done with is as it was, and the other has what it made durable."""
        job = self.job
        other = EngineRoot(job, volume, container='other')
        try:
            other.mount()
            wrong = check(initial(job.untouched), walk(other.path), {})
            if wrong:
                raise Failed(f'{self.name}, the other container: {wrong}')
            other.umount()
        finally:
            other.kill()
        if self.name == 'destroy':
            return
        engine = EngineRoot(job, volume)
        try:
            engine.mount()
            with open(f'{engine.path}/usr/a/page', 'rb') as f:
                if f.read(7) != b'changed':
                    raise Failed(f'{self.name}: what the container made durable is lost')
            engine.umount()
        finally:
            engine.kill()
