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

from stores import CLI, WAIT_S, Fault, Store, check_error, error_of

CALLS = ('fsync', 'fdatasync', 'syncfs', 'rename', 'renameat2', 'link', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'pwrite64', 'ftruncate', 'flock', 'mount')
ERRORS = ('EIO', 'ENOSPC')
PARTIAL = 3  # docs/cli.md
# Of the engine that link starts: what makes a link of a file.
OF_MERGING = ('setxattr', 'lsetxattr', 'fsetxattr', 'fallocate', 'utimensat')
# A call that is tried again and again, and others after it: no command has so many.
MOST = 400


class Stores(Store):
    """A store for each case, copied from one that is made once."""

    def __init__(self, base, worker=0, pattern=None):
        super().__init__(f'{base}/store{worker}')
        self.base, self.trace = base, f'{base}/trace{worker}'
        self.said = ''  # the document of the command whose calls fail
        self.pattern = pattern or f'{base}/pattern'

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
        os.rename(self.path, self.pattern)

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

    def fresh(self):
        self.end()
        shutil.rmtree(self.path, ignore_errors=True)
        subprocess.run(['cp', '-a', self.pattern, self.path], check=True)


def copies():
    return {'/usr/same': b'same-' * 20_000, '/usr/copy': b'3-' * 90_001, '/usr/small': b'small'}


def commands(stores):
    """name → arguments, commands before, codes that say that it was done before, and whether it is done now"""
    tar, folder = f'{stores.base}/source.tar', f'{stores.base}/source'
    mounted = [('mount', 'c')]
    has_new = lambda: 'new' in stores.names('template', 'list')
    return {
        'import-tar': (['template', 'import', 'new', tar], [], ['TEMPLATE_EXISTS'], has_new),
        'import-folder': (['template', 'import', 'new', folder], [], ['TEMPLATE_EXISTS'], has_new),
        'template-remove': (['template', 'remove', 'new'], [('template', 'import', 'new', tar)], ['TEMPLATE_NOT_FOUND'], lambda: not has_new()),
        'create': (['create', 'new', '--ostemplate', 'base'], [], ['CONTAINER_EXISTS'], lambda: 'new' in stores.names('list')),
        'mount': (['mount', 'c'], [], [], lambda: os.path.ismount(stores.root())),
        'umount': (['umount', 'c'], mounted, [], lambda: not os.path.ismount(stores.root())),
        'quota': (['quota', 'c', '--size', '50M'], [], [], lambda: stores.ok('quota', 'c')['sizeBytes'] == 50 << 20),
        'quota-mounted': (['quota', 'c', '--inodes', '1000'], mounted, [], lambda: stores.ok('quota', 'c')['inodes'] == 1000),
        'exec': (['exec', 'c', '--', '/nothing'], [], ['FAILED'], lambda: True),
        'destroy': (['destroy', 'c'], [], ['CONTAINER_NOT_FOUND'], lambda: 'c' not in stores.names('list')),
        'gc': (['gc'], [('template', 'import', 'new', tar), ('template', 'remove', 'new')], [], lambda: stores.ok('gc', '--dry-run')['objects'] == 0),
        'rebuild': (['catalog', 'rebuild'], [], [], lambda: stores.names('list') == ['c', 'other']),
        'link': (['link', '--all'], [], [], stores.is_linked),
        'link-mounted': (['link', '--all'], mounted, [], stores.is_linked),
        'verify': (['verify'], [], [], lambda: True),
        'repair': (['verify', '--repair'], [], [], lambda: True),
        'engine-upgrade': (['engine', 'upgrade', 'c'], mounted, [], lambda: True),
    }


def traced(stores, name, *strace):
    """Runs a command on a fresh store under strace. @returns status, its stderr and the lines of the trace"""
    stores.fresh()
    arguments, before, _allowed, _done = commands(stores)[name]
    for earlier in before:
        stores.ok(*earlier)
    return run_under_strace(stores, arguments, strace)


def run_under_strace(stores, arguments, strace):
    """strace -f ends with the last process that it follows, which may be an engine that stays: it is detached when the command has ended.
    @returns status of the command, its stderr and the lines of the trace"""
    if os.path.exists(stores.trace):
        os.unlink(stores.trace)
    # -I2: it can be ended, which else it cannot with -o.
    command = ['strace', '-f', '-I2', '--quiet=attach,personality,thread-execve', '-y', '-o', stores.trace, *strace, CLI, '--json', '--store', stores.path, *arguments]
    with tempfile.TemporaryFile('w+') as err, tempfile.TemporaryFile('w+') as out:
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
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
    return re.sub(r'/[0-9a-f#]{2}(?=/)', '/#', text)


def cases(stores, name, calls, repeat):
    """(call, number) of those that are to fail"""
    _status, _err, lines = traced(stores, name, '-e', 'trace=execve,' + ','.join(calls))
    numbers, seen, wanted, left_out = {}, {}, set(), 0
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
    arguments, _before, allowed, is_done = commands(stores)[name]
    injected = [line for line in lines if '(INJECTED)' in line]
    if not injected:
        return False
    said = error_of(err)
    what = f'{name}: {call} number {number} fails with {error}: {injected[0][:300]}'
    try:
        if name != 'exec':
            if status == PARTIAL and name.startswith('link'):
                if not json.loads(stores.said)['failed']:
                    raise Fault(f'partly done, and it does not say what is not: {stores.said}')
            elif status:
                check_error(status, err)
            elif not is_done():
                raise Fault('the command says that it was done, and it is not')
        elif '    at ' in err:
            raise Fault(f'a stack trace: {err}')
        if name == 'rebuild' and error_of(stores.run('list')[2]).get('code') == 'BAD_CATALOG':
            stores.ok('catalog', 'rebuild')
        stores.verify()
        if 'other' not in stores.names('list'):
            raise Fault('the other container is not listed')
        if name == 'exec':
            status, out, err = stores.run(*arguments)
            if status != 1 or 'execvp /nothing' not in err:
                raise Fault(f'run again it ended with status {status}: {out} {err}')
        else:
            stores.ok(*arguments, allowed=allowed)
        stores.said = ''
        if not is_done():
            raise Fault('run again it is not done')
        stores.check_leftovers(('staging', 'drafts') if name.startswith('import') else ('drafts',))
    except Fault as fault:
        raise Fault(f'{what}; it said {said or "nothing"}; {fault}') from fault
    return True


def run_all(base, names, calls, errors, options, report):
    """@returns cases, failures, calls that were left out"""
    first = Stores(base)
    first.make()
    workers = [Stores(base, worker, first.pattern) for worker in range(options.jobs)]
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
        count = 0
        for name in names or commands(first):
            more = OF_MERGING if name == 'link' and not options.call else ()
            wanted, left_out = cases(workers[0], name, (*calls, *more), options.repeat)
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
