"""One cut while packages of a container change: it is as before or as after, files and package database, and the command can be run again."""
import json
import os
import pickle
import random
import subprocess
import time

from engine import end_engines
from mini_debian import TEMPLATE
from package_stories import NAMES, ends_of, left_over, state, stories, told_as_wanted, which
from root_photo import differences
from roots import Failed, end, said_until_end, start_noise

GONE_WAIT_S = 120


def steps_of(volume, container):
    """Changes whenever a command has taken a step that others can see."""
    store = f'{volume.place}/store'
    seen = []
    for folder in ('private', f'private/{container}', f'private/.snapshots/{container}', 'staging', 'cache/replays', f'run/{container}'):
        try:
            seen.append(sorted(os.listdir(f'{store}/{folder}')))
        except OSError:
            seen.append(None)
    for file in ('catalog.sqlite-wal', f'private/{container}/container'):
        try:
            status = os.stat(f'{store}/{file}')
            seen.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            seen.append(None)
    return seen


class PackageCut:
    """One run; `execute` returns None or raises Failed."""

    def __init__(self, job, seed, name=None):
        self.job, self.seed = job, seed
        self.rng = random.Random(seed)
        self.name = name or self.rng.choice(NAMES)
        self.story = stories(job.distribution)[self.name]
        self.where = 'at any time'

    def execute(self):
        job, story = self.job, self.story
        self.before = job.package_states.get(story.container)
        found = [self.references(name) for name in ends_of(self.name)]
        self.afters = [after for after, _steps, _took in found]
        _after, self.steps, self.took_s = found[0]
        volume = self.volume()
        noise = None
        try:
            noise = start_noise(volume, self.rng, self.story.container)
            done = self.run_and_cut(volume)
        finally:
            if noise is not None:
                end(noise)
            end_engines(volume)
            volume.umount()
        try:
            self.look(volume, done)
        except Failed as loss:
            raise Failed(f'{self.name}, cut {self.where}{", when it had said that it was done" if done else ""}: {loss}') from loss

    def volume(self):
        """As it is before the command."""
        volume = self.job.fresh_volume(with_packages=True)
        if self.story.mounted:
            self.job.cli(volume, 'mount', self.story.container)
        subprocess.run(['sync', '-f', volume.place], check=True)
        return volume

    def references(self, name):
        """What it looks like when the command was not disturbed, twice: times and the like differ. Made by the first who needs it."""
        if name != self.name:
            return PackageCut(self.job, self.seed, name).references(name)
        key = f'{self.job.kind}-{name}'
        path = self.job.shared(f'{key}.after')
        if not os.path.exists(path):
            runs = [self.undisturbed(), self.undisturbed()]
            draft = f'{path}.{os.getpid()}'
            with open(draft, 'wb') as f:
                pickle.dump(([run[0] for run in runs], min(run[1] for run in runs), min(run[2] for run in runs)), f)
            os.rename(draft, path)
        if key not in self.job.references:
            with open(path, 'rb') as f:
                self.job.references[key] = pickle.load(f)
        return self.job.references[key]

    def undisturbed(self):
        """@returns the state afterwards, how many steps were seen, and how long it took"""
        volume = self.volume()
        try:
            process = self.start(volume)
            started, steps, last = time.monotonic(), 0, None
            while process.poll() is None:
                now = steps_of(volume, self.story.container)
                steps += now != last
                last = now
                time.sleep(0.001)
            took_s = time.monotonic() - started
            out, err = process.communicate()
            if process.returncode or not told_as_wanted(self.name, json.loads(out)):
                raise RuntimeError(f'{self.name}, undisturbed, ended with status {process.returncode}: {out} {err}')
            if self.story.mounted:
                self.job.cli(volume, 'umount', self.story.container)
            return self.state(volume, self.story.container), steps, took_s
        finally:
            end_engines(volume)
            volume.umount()

    def start(self, volume):
        return self.job.command(volume, *self.story.arguments, environment=self.story.environment(self.job.distribution))

    def run_and_cut(self, volume):
        """@returns whether the command said that it was done"""
        rng = self.rng
        fd = os.open(volume.place, os.O_RDONLY | os.O_DIRECTORY)
        process = self.start(volume)
        started = time.monotonic()
        if rng.random() < 0.5:
            self.wait_for_step(volume, process, rng.randint(1, self.steps))
            time.sleep(rng.choice([0, rng.random() * 0.005, rng.random() * 0.05]))
        else:
            try:
                process.wait(self.took_s * rng.uniform(0.1, 1.1))
            except subprocess.TimeoutExpired:
                pass
        ended = process.poll()
        self.where += f', after {time.monotonic() - started:.2f} s'
        volume.cut(rng.choice(['lose-log', 'lose-log', 'flush-log']), fd)
        os.close(fd)
        err = said_until_end(process, self.name, GONE_WAIT_S)
        if '    at ' in err:
            raise Failed(f'{self.name}: the command said: {err}')
        if ended not in (None, 0):
            raise Failed(f'{self.name} ended with status {ended} before the cut: {err}')
        return ended == 0

    def wait_for_step(self, volume, process, number):
        self.where = f'at step {number} of {self.steps}'
        steps, last = 0, None
        while process.poll() is None:
            now = steps_of(volume, self.story.container)
            steps += now != last
            last = now
            if steps >= number:
                return
            time.sleep(0.001)

    def state(self, volume, container):
        return state(lambda *arguments: self.job.cli(volume, *arguments), container)

    def which(self, volume):
        """'before' or 'after'. @raises Failed"""
        name, wrong = which(self.state(volume, self.story.container), self.before, self.afters)
        if wrong:
            raise Failed(wrong)
        return name

    def look(self, volume, done):
        job, story, rng = self.job, self.story, self.rng
        job.reboot()
        volume.mount()
        try:
            if rng.random() < 0.3:
                job.verify(volume)
            mend = rng.choice([['mount', story.container], ['create', 'another', '--ostemplate', TEMPLATE], ['gc'], ['exec', story.container, '--no-network', '--', 'true'], ['link', '--all'], None])
            found = None
            if mend is not None:
                self.where += f', then {mend[0]}'
                if job.cli(volume, *mend, allowed=['CONTAINER_NOT_FOUND']) == 'CONTAINER_NOT_FOUND':
                    # `exec` looks before it opens the catalog to change it, so it settles nothing of a container that is not there.
                    job.cli(volume, 'gc')
                found = self.which(volume)
                if done and found != 'after':
                    raise Failed(f'it is as before (after `{" ".join(mend)}`)')
                self.check_tidy(volume)
            if found != 'after' or not self.name.startswith('rollback'):
                code = job.cli(volume, *story.arguments, allowed=story.allowed, environment=story.environment(job.distribution))
                if found == 'before' and code in story.allowed:
                    raise Failed(f'run again it ends with {code}, and nothing was done')
            if self.which(volume) != 'after':
                raise Failed('run again it is as before')
            for name in story.others:
                lines = differences(self.state(volume, name)[0], [job.package_states[name][0]])
                if lines:
                    raise Failed(f'container {name} has changed: {lines[:5]}')
            self.check_tidy(volume)
        finally:
            end_engines(volume)
            volume.umount()

    def check_tidy(self, volume):
        self.job.verify(volume)
        left = left_over(f'{volume.place}/store')
        if left:
            raise Failed(f'{left} is left over')
