"""One system call of a command fails, each in turn.

A first run of each command under strace(1) shows its calls; then each of them is made to fail. Calls of the same kind on the same thing
(names and descriptors stand for what they are, numbers in them for any number) are one place in the code for most purposes: after
`repeat` of them the rest are left out.
"""
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from copy_commands import copy_commands, make_image
from package_commands import PackageCommand, package_commands
from package_stories import build_distribution, ends_of, fill
from stores import CLI, WAIT_S, Fault, Store, check_error, error_of

CALLS = ('fsync', 'fdatasync', 'syncfs', 'rename', 'renameat2', 'link', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'pwrite64', 'ftruncate', 'flock', 'mount')
ERRORS = ('EIO', 'ENOSPC')
PARTIAL = 3  # docs/cli.md
# Of the engine that link starts: what makes a link of a file.
OF_MERGING = ('setxattr', 'lsetxattr', 'fsetxattr', 'fallocate', 'utimensat')
REPEAT_OF_PACKAGES = 1  # they are long
# A call that is tried again and again, and others after it: no command has so many.
MOST = 400


class Command:
    """`before`: commands, or functions to be called. `again`: codes that say that it was done before."""

    def __init__(self, arguments, done, before=(), again=()):
        self.arguments, self.done, self.before, self.again = arguments, done, list(before), list(again)


class Stores(Store):
    """A store for each case, copied from one that is made once."""

    def __init__(self, base, worker=0):
        super().__init__(f'{base}/store{worker}')
        self.base, self.trace, self.target = base, f'{base}/trace{worker}', f'{base}/target{worker}'
        self.said = ''  # the document of the command whose calls fail
        self.pattern, self.package_pattern = f'{base}/pattern', f'{base}/package-pattern'

    def make(self):
        source = f'{self.base}/source'
        os.makedirs(f'{source}/usr/deep')
        for i in range(6):
            with open(f'{source}/usr/deep/f{i}', 'wb') as f:
                f.write(b'%d-' % i * (1 + 30_000 * i))
        os.symlink('deep', f'{source}/usr/link')
        for arguments in (('template', 'import', 'base', source), ('create', 'c', '--ostemplate', 'base'), ('create', 'other', '--ostemplate', 'base')):
            self.ok(*arguments)
        self.write_copies()
        with open(f'{source}/usr/more', 'w') as f:
            f.write('more')
        with tarfile.open(f'{self.base}/source.tar', 'w') as tar:
            tar.add(source, arcname='.')
        make_image(self, self.base)
        os.rename(self.path, self.pattern)

    def make_packages(self):
        """@returns what the containers look like"""
        distribution = f'{self.base}/distribution'
        build_distribution(distribution)

        def cli(*arguments, environment=None):
            self.environment = environment or {}
            return self.ok(*arguments)
        states = fill(cli, distribution)
        os.rename(self.path, self.package_pattern)
        return states

    def write_copies(self):
        """Both containers write the same, and what the template has."""
        for name in ('c', 'other'):
            self.ok('mount', name)
            for path, content in copies().items():
                with open(f'{self.root(name)}{path}', 'wb') as f:
                    f.write(content)
            self.ok('umount', name)

    def is_linked(self):
        """Whether nothing is left to be linked, or it was said what is; files hold what they held. @raises Fault"""
        for name in ('c', 'other'):
            was_mounted = os.path.ismount(self.root(name))
            if not was_mounted:
                self.ok('mount', name)
            for path, content in copies().items():
                with open(f'{self.root(name)}{path}', 'rb') as f:
                    if f.read() != content:
                        raise Fault(f'{name}: {path} holds something else')
            if not was_mounted:
                self.ok('umount', name)
        told = json.loads(self.said) if self.said else {}
        if told.get('skipped') or told.get('failed'):
            return True
        found = self.ok('link', '--all', '--dry-run')
        return found['adoptedFiles'] + found['mergedFiles'] == 0

    def fresh(self, with_packages=False):
        self.end()
        for folder in (self.path, self.target):
            shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(self.target)
        subprocess.run(['cp', '-a', self.package_pattern if with_packages else self.pattern, self.path], check=True)


def copies():
    return {'/usr/same': b'same-' * 20_000, '/usr/copy': b'3-' * 90_001, '/usr/small': b'small'}


def commands(stores):
    tar, folder = f'{stores.base}/source.tar', f'{stores.base}/source'
    mounted = [('mount', 'c')]
    has_new = lambda: 'new' in stores.names('template', 'list')
    version = lambda: next(one['version'] for one in stores.ok('template', 'list') if one['name'] == 'base')
    return {
        'import-tar': Command(['template', 'import', 'new', tar], has_new, again=['TEMPLATE_EXISTS']),
        'import-folder': Command(['template', 'import', 'new', folder], has_new, again=['TEMPLATE_EXISTS']),
        'refresh': Command(['template', 'import', '--refresh', 'base', tar], lambda: version() >= 2),
        'template-remove': Command(['template', 'remove', 'new'], lambda: not has_new(), before=[('template', 'import', 'new', tar)], again=['TEMPLATE_NOT_FOUND']),
        'create': Command(['create', 'new', '--ostemplate', 'base'], lambda: 'new' in stores.names('list'), again=['CONTAINER_EXISTS']),
        'mount': Command(['mount', 'c'], lambda: os.path.ismount(stores.root())),
        'umount': Command(['umount', 'c'], lambda: not os.path.ismount(stores.root()), before=mounted),
        'quota': Command(['quota', 'c', '--size', '50M'], lambda: stores.ok('quota', 'c')['sizeBytes'] == 50 << 20),
        'quota-mounted': Command(['quota', 'c', '--inodes', '1000'], lambda: stores.ok('quota', 'c')['inodes'] == 1000, before=mounted),
        'exec': Command(['exec', 'c', '--', '/nothing'], lambda: True, again=['FAILED']),
        'destroy': Command(['destroy', 'c'], lambda: 'c' not in stores.names('list'), again=['CONTAINER_NOT_FOUND']),
        'gc': Command(['gc'], lambda: stores.ok('gc', '--dry-run')['objects'] == 0, before=[('template', 'import', 'new', tar), ('template', 'remove', 'new')]),
        'rebuild': Command(['catalog', 'rebuild'], lambda: stores.names('list') == ['c', 'other']),
        'link': Command(['link', '--all'], stores.is_linked),
        'link-mounted': Command(['link', '--all'], stores.is_linked, before=mounted),
        'verify': Command(['verify'], lambda: True),
        'repair': Command(['verify', '--repair'], lambda: True),
        'engine-upgrade': Command(['engine', 'upgrade', 'c'], lambda: True, before=mounted),
        **copy_commands(stores, stores.base, stores.target),
        **package_commands(stores, f'{stores.base}/distribution'),
    }


def prepare(stores, command):
    with_packages = isinstance(command, PackageCommand)
    stores.fresh(with_packages)
    stores.environment = command.environment if with_packages else {}
    stores.do(command.before)


def traced(stores, name, *strace):
    """Runs a command on a fresh store under strace. @returns status, its stderr and the lines of the trace"""
    command = commands(stores)[name]
    prepare(stores, command)
    return run_under_strace(stores, command.arguments, strace)


def run_under_strace(stores, arguments, strace):
    """strace -f ends with the last process that it follows, which may be an engine that stays: it is detached when the command has ended.
    @returns status of the command, its stderr and the lines of the trace"""
    if os.path.exists(stores.trace):
        os.unlink(stores.trace)
    # -I2: it can be ended, which else it cannot with -o.
    command = ['strace', '-f', '-I2', '--quiet=attach,personality,thread-execve', '-y', '-o', stores.trace, *strace, CLI, '--json', '--store', stores.path, *arguments]
    with tempfile.TemporaryFile('w+') as err, tempfile.TemporaryFile('w+') as out:
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=stores.variables())
        until = time.monotonic() + WAIT_S
        while tracer.poll() is None:
            if end_of_command(stores.trace):
                tracer.terminate()
            if time.monotonic() > until:
                tracer.kill()
                tracer.wait()
                raise Fault(f'`{" ".join(arguments)}` hangs')
            time.sleep(0.01)
        err.seek(0)
        said = err.read()
        out.seek(0)
        stores.said = out.read()
    found = end_of_command(stores.trace)
    if found is None:
        raise Fault(f'strace does not tell how `{" ".join(arguments)}` ended: {said.strip()}')
    with open(stores.trace, errors='replace') as f:
        lines = [line for line in f.read().splitlines() if '+++' not in line and ' execve(' not in line]
    return (int(found[1]) if found[1] else -1), said, lines


def end_of_command(trace):
    """How the command ended, as far as strace has said it: a match with its status or its signal. Its execve is the first call."""
    try:
        with open(trace, errors='replace') as f:
            pid = f.readline().split(' ')[0]
            return re.search(rf'^{pid} +\+\+\+ (?:exited with (\d+)|killed by (\w+))', f.read(), re.MULTILINE) if pid else None
    except FileNotFoundError:
        return None


def place_of(line):
    """What a line of the trace has in common with others of its kind."""
    text = re.sub(r'^\d+ +', '', line)
    text = re.sub(r'\) += .*$', '', text)
    text = re.sub(r'"(?:[^"\\]|\\.)*"\.\.\.', '""', text)
    text = re.sub(r'[0-9a-f]{8,}|\d+', '#', text)
    text = re.sub(r'(?<=[/-])(?:c|other|new|empty|full)(?=[/">-])', 'CT', text)
    return re.sub(r'/[0-9a-f#]{2}(?=/)', '/#', text)


def cases(stores, name, calls, repeat, seen):
    """(call, number) of those that are to fail. `seen`: how often each place was met before"""
    _status, _err, lines = traced(stores, name, '-e', 'trace=execve,' + ','.join(calls))
    numbers, wanted, left_out = {}, set(), 0
    for line in lines:
        found = re.match(r'^(\d+) +(\w+)\(', line)
        if not found or found[2] not in calls:
            continue
        # strace counts for each thread and process by itself, and so lets the k-th call of each of them fail.
        thread, call = found[1], found[2]
        numbers[thread, call] = numbers.get((thread, call), 0) + 1
        place = place_of(line)
        seen[place] = seen.get(place, 0) + 1
        if repeat and seen[place] > repeat:
            left_out += 1
        elif numbers[thread, call] <= MOST:
            wanted.add((call, numbers[thread, call]))
    return sorted(wanted), left_out


def run_case(stores, name, call, error, number):
    """@returns whether there was such a call to fail @raises Fault"""
    status, err, lines = traced(stores, name, '-e', f'trace=execve,{call}', '-e', f'inject={call}:error={error}:when={number}')
    command = commands(stores)[name]
    injected = [line for line in lines if '(INJECTED)' in line]
    if not injected:
        return False
    said = error_of(err)
    what = f'{name}: {call} number {number} fails with {error}: {injected[0][:300]}'
    try:
        if isinstance(command, PackageCommand):
            command.judge(status, err)
        else:
            judge(stores, name, command, status, err)
    except Fault as fault:
        raise Fault(f'{what}; it said {said or "nothing"}; {fault}') from fault
    return True


def is_of_packages(stores, name):
    return isinstance(commands(stores)[name], PackageCommand)


def learn(stores, name):
    """What a change of packages ends as when nothing fails."""
    if is_of_packages(stores, name):
        for end in ends_of(name):
            command = commands(stores)[end]
            for _ in range(2):
                prepare(stores, command)
                command.learn()


def judge(stores, name, command, status, err):
    """It failed as it should, or was done; and can be done now. @raises Fault"""
    if name != 'exec':
        if status == PARTIAL and name.startswith('link'):
            if not json.loads(stores.said)['failed']:
                raise Fault(f'partly done, and it does not say what is not: {stores.said}')
        elif status:
            check_error(status, err)
            check_target(stores, name, command)
        elif not command.done():
            raise Fault('the command says that it was done, and it is not')
    elif '    at ' in err:
        raise Fault(f'a stack trace: {err}')
    if name == 'rebuild' and error_of(stores.run('list')[2]).get('code') == 'BAD_CATALOG':
        stores.ok('catalog', 'rebuild')
    stores.verify()
    if 'other' not in stores.names('list'):
        raise Fault('the other container is not listed')
    if name == 'exec':
        status, out, err = stores.run(*command.arguments)
        if status != 1 or 'execvp /nothing' not in err:
            raise Fault(f'run again it ended with status {status}: {out} {err}')
    else:
        stores.ok(*command.arguments, allowed=command.again)
    stores.said = ''
    if not command.done():
        raise Fault('run again it is not done')
    stores.check_leftovers(('staging', 'drafts') if name.startswith('import') else ('drafts',))


def check_target(stores, name, command):
    """Nothing half made lies where it was to be made."""
    left = [] if name.startswith('restore') or command.done() else os.listdir(stores.target)
    if left:
        raise Fault(f'it has left {left}')


def run_all(base, names, calls, errors, options, report):
    """@returns cases, failures, calls that were left out"""
    first = Stores(base)
    chosen_names = names or list(commands(first))
    first.make()
    if any(isinstance(command, PackageCommand) for name, command in commands(first).items() if name in chosen_names):
        PackageCommand.states = first.make_packages()
    workers = [Stores(base, worker) for worker in range(options.jobs)]
    free = list(workers)
    done = failed = left = 0

    def one(name, call, error, number):
        stores = free.pop()
        try:
            return run_case(stores, name, call, error, number), None
        except (Fault, subprocess.SubprocessError, OSError) as fault:
            return True, f'{name}: {call} number {number} {error}: {fault}'
        finally:
            free.append(stores)

    pool = ThreadPoolExecutor(options.jobs)
    try:
        count, seen = 0, {}
        for name in chosen_names:
            learn(workers[0], name)
            more = OF_MERGING if name == 'link' and not options.call else ()
            repeat = min(options.repeat, REPEAT_OF_PACKAGES) if options.repeat and is_of_packages(workers[0], name) else options.repeat
            wanted, left_out = cases(workers[0], name, (*calls, *more), repeat, seen if options.once else {})
            left += left_out * len(errors)
            chosen = []
            for call, number in wanted:
                for error in errors:
                    count += 1
                    if count % options.every == 0 and number <= options.most:
                        chosen.append((name, call, error, number))
            failed_before, done_before = failed, done
            for hit, fault in pool.map(lambda case: one(*case), chosen):
                done += hit
                if fault:
                    failed += 1
                    print(fault, flush=True)
            report(f'{name}: {done - done_before} cases, {failed - failed_before} failed, {left_out} calls alike left out')
    finally:
        pool.shutdown(cancel_futures=True)
        for stores in workers:
            stores.end()
    return done, failed, left
