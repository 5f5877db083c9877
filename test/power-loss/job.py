"""Where the cuts of one process happen: a mount namespace with volumes and a kernel's boot id of its own."""
import json
import os
import pickle
import shutil
import subprocess
import uuid

import package_stories
import template
from engine import EngineRoot, end_engines
from merge_request import objects_of_template
from model import walk
from roots import Failed
from syscalls import enter_mount_namespace
from volume import Volume

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
CLI = f'{PROJECT}/bin/templatefs'
BOOT_ID = '/proc/sys/kernel/random/boot_id'
COMMAND_WAIT_S = 300  # on a machine that has other things to do


class Job:
    Failed = Failed

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        self.durations = {}  # of commands, as far as it is known
        self.bases = {}
        self.kind, self.base, self.untouched, self.objects = None, None, None, None
        self.bases_folder, self.package_bases, self.package_base, self.package_states = None, {}, None, None
        self.references = {}  # what containers look like after changes of packages that were not disturbed
        self.volumes = 0

    def use(self, kind):
        """What the next runs happen on."""
        self.kind = kind
        self.base, self.untouched, self.objects = self.bases[kind]
        self.package_base, self.package_states = self.package_bases.get(kind, (None, None))

    def path(self, name):
        return f'{self.folder}/{name}'

    def enter(self):
        enter_mount_namespace()
        os.makedirs(self.folder)
        self.reboot()
        subprocess.run(['mount', '--bind', self.path('boot-id'), BOOT_ID], check=True)

    def leave(self):
        with open('/proc/self/mounts') as f:
            mounts = [line.split()[1] for line in f]
        for place in reversed(mounts):
            if place.startswith(f'{self.folder}/'):
                subprocess.run(['umount', '-l', place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def reboot(self):
        """What tells a command that the host was restarted."""
        with open(self.path('boot-id'), 'w') as f:
            f.write(f'{uuid.uuid4()}\n')

    @property
    def distribution(self):
        return self.shared('distribution')

    def shared(self, name):
        """What all jobs have."""
        return f'{self.bases_folder}/{name}'

    def make_bases(self, folder, kinds, with_packages):
        """Images with a template and two containers, from which each run starts."""
        self.bases_folder = folder
        if with_packages:
            package_stories.build_distribution(self.distribution)
            for kind in kinds:
                states = self.make_package_base(Volume(kind, f'{folder}/{kind}-packages.img', self.path('base')))
                with open(f'{folder}/{kind}-packages.states', 'wb') as f:
                    pickle.dump(states, f)
        template.build(self.path('template'))
        for kind in kinds:
            found = self.make_base(Volume(kind, f'{folder}/{kind}.img', self.path('base')))
            with open(f'{folder}/{kind}.walk', 'wb') as f:
                pickle.dump(found, f)

    def make_package_base(self, base):
        base.make()
        base.mount()
        try:
            return package_stories.fill(lambda *arguments, **more: self.cli(base, *arguments, **more), self.distribution)
        finally:
            end_engines(base)
            base.umount()

    def load_bases(self, folder, kinds):
        self.bases_folder = folder
        for kind in kinds:
            if os.path.exists(f'{folder}/{kind}-packages.states'):
                with open(f'{folder}/{kind}-packages.states', 'rb') as f:
                    self.package_bases[kind] = Volume(kind, f'{folder}/{kind}-packages.img', self.path('base')), pickle.load(f)
            with open(f'{folder}/{kind}.walk', 'rb') as f:
                self.bases[kind] = Volume(kind, f'{folder}/{kind}.img', self.path('base')), *pickle.load(f)

    def make_base(self, base):
        """@returns what its root shows, and the object of each of the template's contents"""
        base.make()
        base.mount()
        for arguments in (('template', 'import', 'base', self.path('template')), ('create', 'c', '--ostemplate', 'base'), ('create', 'other', '--ostemplate', 'base')):
            self.cli(base, *arguments)
        engine = EngineRoot(self, base)
        engine.mount()
        untouched = walk(engine.path)
        engine.umount()
        # So that there is something private to be destroyed, and numbers have been given out.
        engine.mount()
        for i in range(20):
            with open(f'{engine.path}/data/a/page', 'wb') as f:
                f.write(b'%d' % i)
        os.unlink(f'{engine.path}/data/a/page')
        engine.umount()
        self.cli(base, 'destroy', 'c')
        self.cli(base, 'create', 'c', '--ostemplate', 'base')
        objects = {untouched[path[1:]][2]: name for path, name in objects_of_template(self.engine, f'{base.place}/store').items()}
        base.umount()
        return untouched, objects

    def fresh_volume(self, with_packages=False):
        """Another one for each run."""
        self.reboot()
        base = self.package_base if with_packages else self.base
        volume = base.copy(self.path(f'image{self.volumes}'), self.path(f'volume{self.volumes}'))
        volume.mount()
        return volume

    def give_up(self):
        """On a volume that somebody still holds: the next one is another."""
        volume = Volume(self.kind, self.path(f'image{self.volumes}'), self.path(f'volume{self.volumes}'))
        end_engines(volume)
        volume.detach()
        self.volumes += 1

    def command(self, volume, *arguments, environment=None, **options):
        environment = {**os.environ, 'TEMPLATEFS_ENGINE': self.engine, 'TEMPLATEFS_STORE': f'{volume.place}/store', **(environment or {})}
        return subprocess.Popen([CLI, '--json', *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)

    def cli(self, volume, *arguments, allowed=(), environment=None):
        """A command that must succeed, or end with one of the `allowed` codes. @returns its document, or the code"""
        status, out, err = self.run(volume, *arguments, environment=environment)
        if status == 0:
            return answer_of(out)
        code = error_code(err)
        if code in allowed:
            return code
        raise Failed(f'`templatefs {" ".join(arguments)}` ended with status {status}: {err.strip()} {out.strip()[:500]}')

    def run(self, volume, *arguments, environment=None):
        process = self.command(volume, *arguments, environment=environment)
        try:
            out, err = process.communicate(timeout=COMMAND_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return process.returncode, out, err

    def verify(self, volume):
        found = self.cli(volume, 'verify')
        if found['problems']:
            raise Failed(f'verify: {found["problems"]}')


def answer_of(out):
    """Its document; what a command in a container has said as it is."""
    try:
        return json.loads(out) if out else None
    except ValueError:
        return out


def error_code(stderr):
    """The code of the error document, which is the last line."""
    try:
        return json.loads(stderr.strip().splitlines()[-1])['error']['code']
    except (ValueError, KeyError, IndexError):
        return None
