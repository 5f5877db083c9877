"""Where the cuts of one process happen: a mount namespace with volumes and a kernel's boot id of its own."""
import json
import os
import pickle
import shutil
import subprocess
import uuid

import template
from engine import EngineRoot
from merge_request import objects_of_template
from model import walk
from roots import Failed
from syscalls import enter_mount_namespace
from volume import Volume

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
CLI = f'{PROJECT}/bin/templatefs'
BOOT_ID = '/proc/sys/kernel/random/boot_id'
COMMAND_WAIT_S = 120


class Job:
    Failed = Failed

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        self.durations = {}  # of commands, as far as it is known
        self.bases = {}
        self.kind, self.base, self.untouched, self.objects = None, None, None, None

    def use(self, kind):
        """What the next runs happen on."""
        self.kind = kind
        self.base, self.untouched, self.objects = self.bases[kind]

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

    def make_bases(self, folder, kinds):
        """Images with a template and two containers, from which each run starts."""
        template.build(self.path('template'))
        for kind in kinds:
            found = self.make_base(Volume(kind, f'{folder}/{kind}.img', self.path('base')))
            with open(f'{folder}/{kind}.walk', 'wb') as f:
                pickle.dump(found, f)

    def load_bases(self, folder, kinds):
        for kind in kinds:
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

    def fresh_volume(self):
        """Another one for each run."""
        self.reboot()
        volume = self.base.copy(self.path('image'), self.path('volume'))
        volume.mount()
        return volume

    def command(self, volume, *arguments, **options):
        environment = {**os.environ, 'TEMPLATEFS_ENGINE': self.engine, 'TEMPLATEFS_STORE': f'{volume.place}/store'}
        return subprocess.Popen([CLI, '--json', *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)

    def cli(self, volume, *arguments, allowed=()):
        """A command that must succeed, or end with one of the `allowed` codes. @returns its document, or the code"""
        process = self.command(volume, *arguments)
        out, err = process.communicate(timeout=COMMAND_WAIT_S)
        if process.returncode == 0:
            return json.loads(out) if out else None
        code = error_code(err)
        if code in allowed:
            return code
        raise Failed(f'`templatefs {" ".join(arguments)}` ended with status {process.returncode}: {err.strip()} {out.strip()[:500]}')

    def verify(self, volume):
        found = self.cli(volume, 'verify')
        if found['problems']:
            raise Failed(f'verify: {found["problems"]}')


def error_code(stderr):
    """The code of the error document, which is the last line."""
    try:
        return json.loads(stderr.strip().splitlines()[-1])['error']['code']
    except (ValueError, KeyError, IndexError):
        return None
