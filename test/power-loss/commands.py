"""One cut while a command of the command line runs: it was done, or was not begun; and it can be done again."""
import os
import random
import subprocess
import tarfile
import time

import template
from engine import EngineRoot, end_engines
from model import check, initial, walk
from roots import Failed, end, start_noise

GONE_WAIT_S = 60


class Command:
    """A command, what it needs before, and how to see whether it was done."""

    def __init__(self, arguments, done, before=(), again=None, allowed=(), mounted=False, breaks=False):
        self.arguments, self.before, self.done, self.mounted = arguments, before, done, mounted
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
        'mount': Command(['mount', 'c'], lambda v: True),
        'umount': Command(['umount', 'c'], lambda v: True, mounted=True),
    }


class CommandCut:
    """One run; `execute` returns None or raises Failed."""

    def __init__(self, job, seed):
        self.job, self.seed = job, seed
        self.rng = random.Random(seed)

    def execute(self):
        job, rng = self.job, self.rng
        known = commands(job)
        self.name = rng.choice(list(known))
        command = known[self.name]
        volume = job.fresh_volume()
        engine = EngineRoot(job, volume)
        noise = None
        try:
            for arguments in command.before:
                job.cli(volume, *arguments)
            self.fill(engine, command.mounted, break_object(volume, rng) if command.breaks else None)
            noise = start_noise(volume, rng)
            done = self.run_and_cut(volume, command)
        finally:
            if noise is not None:
                end(noise)
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
        try:
            _out, err = process.communicate(timeout=GONE_WAIT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Failed(f'{self.name}: the command hangs after the cut') from error
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
            if done and not command.done(volume):
                raise Failed(f'{self.name} said that it was done, and it is not')
            job.cli(volume, *command.again, allowed=command.allowed)
            if not command.done(volume):
                raise Failed(f'{self.name} was done again, and it is not')
            if self.name in ('mount', 'quota-mounted', 'umount'):
                job.cli(volume, 'umount', 'c')
            job.verify(volume)
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
