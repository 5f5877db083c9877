"""Merging between random operations on a root, against a model in memory, with workers that are killed.

    npm run test:merging -- --steps 100000

A template holds a pool of contents, so that each is an object. A container's files get contents of the pool; they are written to,
truncated, renamed, linked, unlinked, opened and mapped at random, and in between its engine is asked to merge them: with the object
that they are equal to, and with others. Every read must give what the model says. Now and then the root is mounted anew, and all that
stat(2) says of each file must be what it was.

What a descriptor or a mapping shows: outside of shared paths always the file's content of now; below one (/usr) that, or what
it showed when it was opened, as with files of the template (docs/merging.md); what was renamed out of there is still served as it was while
somebody has it open from before.

    npm run test:merging -- --fleet      containers that each install the same: fleet.py
"""

import argparse
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.append(f'{PROJECT}/test/support')

# pylint: disable=wrong-import-position
import fleet  # noqa: E402
from merge_request import objects_of_template, request_merge  # noqa: E402

FOLDERS = ('/usr/m', '/var/m', '/var/m/sub')
NAMES = 'abcdefgh'
LARGE = 1_500_000
SIZES = (1, 100, 4096, 5000, 5000, 5000, 70_000, 70_000, 300_000)


class Wrong(Exception):
    """The root is not as the model says."""


class File:
    """An inode of the model."""

    made = 0

    def __init__(self, content):
        self.content = bytearray(content)
        self.links = 1
        File.made += 1
        self.number = File.made
        self.story = []  # what was done to it, for whoever looks for what went wrong


class Use:
    """A descriptor or a mapping of a file."""

    def __init__(self, file, shared, writable, fd=None, memory=None):
        self.file, self.shared, self.writable, self.fd, self.memory = file, shared, writable, fd, memory
        self.first = bytes(file.content)

    def __str__(self):
        what = 'mapping' if self.memory is not None else f'descriptor {self.fd}'
        return f'{what}{" for writing" if self.writable else ""}{" below a shared path" if self.shared else ""}'

    def shows(self):
        if self.memory is not None:
            return self.memory[:]
        return os.pread(self.fd, max(len(self.file.content), len(self.first)) + 10, 0)

    def check(self, what):
        now, size = self.shows(), len(self.first) if self.memory is not None else None
        allowed = [bytes(self.file.content)[:size]]
        if self.shared and not self.writable:
            allowed.append(self.first)
        if now not in allowed:
            wanted = allowed[0]
            places = [at for at in range(min(len(now), len(wanted))) if now[at] != wanted[at]]
            where = f' (bytes {places[0]} to {places[-1]} differ)' if places else ''
            raise Wrong(f'{what}: {self} shows {describe(now)}, and not {" or ".join(map(describe, allowed))}{where}; its file: {"; ".join(self.file.story[-25:])}')

    def end(self):
        if self.memory is not None:
            self.memory.close()
        else:
            os.close(self.fd)


def describe(content):
    return f'{len(content)} bytes {bytes(content[:8])!r}…{hash(bytes(content)) & 0xffff:04x}'


class Store:
    def __init__(self, folder):
        self.path = os.path.join(folder, 'store')
        self.engine = os.environ.get('TEMPLATEFS_ENGINE', f'{PROJECT}/build/Release/templatefs-engine')
        self.root = os.path.join(self.path, 'root/c1')

    def run(self, *arguments):
        ended = subprocess.run([f'{PROJECT}/bin/templatefs', '--store', self.path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise Wrong(f'templatefs {" ".join(arguments)} ended with {ended.returncode}: {ended.stderr}{ended.stdout}')
        return ended.stdout

    def objects(self):
        """Object of each path of the template."""
        return objects_of_template(self.engine, self.path)

    def worker(self):
        with open(os.path.join(self.path, 'run/c1/engine'), encoding='utf8') as file:
            return int(next(line.split()[1] for line in file if line.startswith('worker ')))


class Run:
    def __init__(self, store, seed, sizes=SIZES):
        self.store, self.random = store, random.Random(seed)
        self.names, self.uses, self.counts, self.log = {}, [], {}, []
        self.pool = {}
        self.sizes = sizes

    def prepare(self, folder):
        top = os.path.join(folder, 'template')
        contents = {}
        for path in (*FOLDERS, '/pool'):
            os.makedirs(top + path, exist_ok=True)
        for number, size in enumerate(self.sizes * 2):
            contents[f'/pool/{number}'] = self.random.randbytes(size)
        for number, path in enumerate(('/usr/m/large', '/var/m/large')):
            contents[path] = bytes([65 + number]) * LARGE
        for path, content in contents.items():
            with open(top + path, 'wb') as file:
                file.write(content)
        self.store.run('template', 'import', 't', top)
        self.store.run('create', 'c1', '--ostemplate', 't')
        self.store.run('mount', 'c1')
        objects = self.store.objects()
        self.pool = {content: objects[path] for path, content in contents.items()}
        for path in ('/usr/m/large', '/var/m/large'):
            self.names[path] = File(contents[path])

    def real(self, path):
        return self.store.root + path

    def is_shared(self, path):
        return path.startswith('/usr/')

    def content(self):
        return self.random.choice([content for content in self.pool if len(content) != LARGE])

    def new_name(self):
        return f'{self.random.choice(FOLDERS)}/{self.random.choice(NAMES)}'

    def one_name(self):
        return self.random.choice(sorted(self.names))

    def keeps(self, path):
        """Whether a descriptor that is opened now may keep its bytes: below a shared path, or while somebody has the file open who
        opened it there (it was renamed since): a file has one backing at a time."""
        return self.is_shared(path) or any(use.shared for use in self.uses_of(self.names[path]))

    def tell(self, file, what):
        file.story.append(f'{len(self.log)}: {what}')

    def uses_of(self, file):
        return [use for use in self.uses if use.file is file]

    # ---- operations

    def op_put(self):
        path = self.new_name()
        content = self.content()
        file = self.names.get(path)
        if file is not None and any(use.memory is not None for use in self.uses_of(file)):
            return
        with open(self.real(path), 'wb') as out:
            out.write(content)
        if file is None:
            self.names[path] = File(content)
        else:
            self.tell(file, f'put as {path}')
            file.content[:] = content

    def op_replace(self):
        """As a package manager: written aside, renamed over."""
        path, aside = self.new_name(), '/usr/m/.new'
        content = self.content()
        with open(self.real(aside), 'wb') as out:
            out.write(content)
        os.rename(self.real(aside), self.real(path))
        self.drop(path)
        self.names[path] = File(content)

    def op_write(self):
        file = self.names[path := self.one_name()]
        offset = self.random.randrange(len(file.content) + 1)
        data = self.random.randbytes(self.random.choice((1, 100, 5000)))
        if self.random.random() < 0.5:  # what is there already: it may be merged again
            data = bytes(file.content[offset:offset + len(data)])
        self.tell(file, f'write {len(data)} at {offset} as {path}')
        fd = os.open(self.real(path), os.O_WRONLY)
        try:
            os.pwrite(fd, data, offset)
            file.content[offset:offset + len(data)] = data
        finally:
            os.close(fd)

    def op_truncate(self):
        file = self.names[path := self.one_name()]
        if any(use.memory is not None for use in self.uses_of(file)):
            return
        size = self.random.choice((0, len(file.content) // 2, len(file.content) + 10))
        self.tell(file, f'truncate to {size}')
        os.truncate(self.real(path), size)
        if size < len(file.content):
            del file.content[size:]
        else:
            file.content.extend(bytes(size - len(file.content)))

    def drop(self, path):
        file = self.names.pop(path, None)
        if file is not None:
            self.tell(file, f'{path} goes')
            file.links -= 1

    def op_unlink(self):
        path = self.one_name()
        if not path.endswith('large'):
            os.unlink(self.real(path))
            self.drop(path)

    def op_rename(self):
        old, new = self.one_name(), self.new_name()
        if old.endswith('large') or self.names.get(new) is self.names[old]:
            return
        os.rename(self.real(old), self.real(new))
        file = self.names.pop(old)
        self.tell(file, f'rename from {old} to {new}')
        self.drop(new)
        self.names[new] = file

    def op_link(self):
        old, new = self.one_name(), self.new_name()
        if new in self.names or old.endswith('large'):
            return
        os.link(self.real(old), self.real(new))
        self.names[new] = self.names[old]
        self.tell(self.names[new], f'link {new} of {old}')
        self.names[new].links += 1

    def op_chmod(self):
        os.chmod(self.real(self.one_name()), self.random.choice((0o600, 0o644, 0o755)))

    def op_open(self):
        if len(self.uses) > 12:
            return
        path = self.one_name()
        writable = self.random.random() < 0.3
        fd = os.open(self.real(path), os.O_RDWR if writable else os.O_RDONLY)
        self.uses.append(Use(self.names[path], self.keeps(path), writable, fd=fd))
        self.tell(self.names[path], f'open as {path}: {self.uses[-1]}')

    def op_map(self):
        path = self.one_name()
        file = self.names[path]
        if len(self.uses) > 12 or not file.content:
            return
        writable = self.random.random() < 0.3
        fd = os.open(self.real(path), os.O_RDWR if writable else os.O_RDONLY)
        try:
            memory = mmap.mmap(fd, len(file.content), mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))
        finally:
            os.close(fd)
        self.uses.append(Use(file, self.keeps(path), writable, memory=memory))
        self.tell(file, f'map as {path}: {self.uses[-1]}')

    def op_store(self):
        """Through a descriptor or a mapping that is there."""
        writable = [use for use in self.uses if use.writable and use.file.content]
        if not writable:
            return
        use = self.random.choice(writable)
        limit = min(len(use.file.content), len(use.first)) if use.memory is not None else len(use.file.content)
        if limit == 0:
            return
        offset = self.random.randrange(limit)
        data = self.random.randbytes(min(50, limit - offset))
        self.tell(use.file, f'store {len(data)} at {offset} through {use}')
        if use.memory is not None:
            use.memory[offset:offset + len(data)] = data
        else:
            os.pwrite(use.fd, data, offset)
        use.file.content[offset:offset + len(data)] = data

    def op_close(self):
        if self.uses:
            use = self.uses.pop(self.random.randrange(len(self.uses)))
            self.tell(use.file, f'close {use}')
            use.end()

    def op_look(self):
        if self.uses:
            self.random.choice(self.uses).check('later')

    def op_read(self):
        path = self.one_name()
        with open(self.real(path), 'rb') as file:
            content = file.read()
        if content != self.names[path].content:
            raise Wrong(f'{path} holds {describe(content)}, and not {describe(self.names[path].content)}; {"; ".join(self.names[path].story[-25:])}')

    def op_merge(self):
        path = self.one_name()
        file = self.names[path]
        status = os.stat(self.real(path))
        content = bytes(file.content)
        right = self.pool.get(content)
        obj = right
        if right is None or self.random.random() < 0.1:
            # What differs must stay: one of the same size where there is one.
            others = [other for other in self.pool if other != content]
            obj = self.pool[min(others, key=lambda other: (len(other) != len(content), self.random.random()))]
        if status.st_size == 0:
            return
        try:
            answer = request_merge(self.store.path, 'c1', status, path, obj, budget=self.random.choice((0, 1000, 100_000)))
        except RuntimeError as error:
            raise Wrong(str(error)) from error
        word = answer.split(' ')[0]
        self.tell(file, f'merge: {answer}')
        if obj != right and word in ('merged', 'kept'):
            raise Wrong(f'{path} was merged with another content')
        if word == 'failed':
            raise Wrong(f'merging {path}: {answer}')
        self.counts[answer if word == 'skipped' else word] = self.counts.get(answer if word == 'skipped' else word, 0) + 1

    OPERATIONS = ((op_put, 4), (op_replace, 4), (op_write, 5), (op_truncate, 2), (op_unlink, 2), (op_rename, 3), (op_link, 2), (op_chmod, 2), (op_open, 5),
                  (op_map, 4), (op_store, 5), (op_close, 8), (op_look, 8), (op_read, 8), (op_merge, 30))

    def step(self):
        operation = self.random.choices([each for each, _ in self.OPERATIONS], [weight for _, weight in self.OPERATIONS])[0]
        self.log.append(operation.__name__)
        operation(self)

    # ---- all of it

    def statuses(self):
        found = {}
        for path, file in self.names.items():
            status = os.stat(self.real(path))
            if status.st_nlink != file.links:
                raise Wrong(f'{path} has {status.st_nlink} names, and not {file.links}')
            found[path] = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return found

    def check_all(self):
        for use in self.uses:
            use.check('at the end')
            use.end()
        self.uses.clear()
        # What was mapped and stored to changes times when it is written back.
        os.sync()
        before = self.statuses()
        self.store.run('umount', 'c1')
        self.store.run('mount', 'c1')
        after = self.statuses()
        for path, status in before.items():
            if after[path] != status:
                raise Wrong(f'stat of {path} was {status}, and is {after[path]}')
        for path, file in self.names.items():
            with open(self.real(path), 'rb') as real:
                if real.read() != file.content:
                    raise Wrong(f'{path} holds something else after a remount')


class Killer(threading.Thread):
    """Kills the worker again and again."""

    def __init__(self, store, seconds, step):
        super().__init__(daemon=True)
        self.store, self.seconds, self.kills, self.ended = store, seconds, 0, threading.Event()
        self.step, self.at = step, []
        self.pause = threading.Lock()

    def run(self):
        while not self.ended.wait(self.seconds * (0.5 + random.random())):
            with self.pause:
                try:
                    os.kill(self.store.worker(), signal.SIGKILL)
                    self.kills += 1
                    self.at.append(self.step())
                except (OSError, StopIteration, ValueError):
                    pass


def main():
    parser = argparse.ArgumentParser(prog='npm run test:merging --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--steps', type=int, default=20_000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--kill-every', type=float, default=0.5, metavar='SECONDS', help='0: never')
    parser.add_argument('--remount-every', type=int, default=2_000, metavar='STEPS')
    parser.add_argument('--break', action='store_true', dest='spoil', help='changes a file behind the back of the model: that must be noticed')
    fleet.add_options(parser)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix='templatefs-merging-', dir=options.folder)
    if options.fleet:
        return fleet.main(options, folder)
    place = fleet.make_volume(folder, options.file_system) if options.file_system else folder
    store = Store(place)
    run = Run(store, options.seed)
    killer = Killer(store, options.kill_every, lambda: len(run.log))
    step, problem = 0, None
    try:
        run.prepare(place)
        if options.kill_every > 0:
            killer.start()
        for step in range(1, options.steps + 1):
            run.step()
            if options.spoil and step == options.steps // 2:
                with open(run.real('/usr/m/large'), 'r+b') as file:
                    file.write(b'?')
            if step % options.remount_every == 0 or step == options.steps:
                with killer.pause:
                    run.check_all()
        with killer.pause:
            store.run('umount', 'c1')
            store.run('verify')
    except (Wrong, OSError) as error:
        problem = error
    finally:
        killer.ended.set()
        for use in run.uses:
            use.end()
        subprocess.run([f'{PROJECT}/bin/templatefs', '--store', store.path, 'umount', 'c1', '--force'], capture_output=True, check=False)
        if place != folder:
            fleet.remove_volume(place)
        shutil.rmtree(folder, ignore_errors=True)
    if problem is not None:
        print(f'wrong: step {step}: {problem}')
        print(f'killed at: {killer.at[-10:]}')
        print(f'last: {" ".join(run.log[-20:])}')
        print(f'again: npm run test:merging -- --steps {options.steps} --seed {options.seed}')
    skipped = sum(count for answer, count in run.counts.items() if answer.startswith('skipped'))
    print(f'merging: {step} steps, {killer.kills} kills, {run.counts.get("merged", 0)} merged, {run.counts.get("kept", 0)} kept, {skipped} skipped, {1 if problem else 0} errors')
    return 1 if problem is not None else 0


if __name__ == '__main__':
    sys.exit(main())
