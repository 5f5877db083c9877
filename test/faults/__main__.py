#!/usr/bin/env python3
"""Lets one system call of a command fail, each in turn, and looks what the command makes of it.

    npm run test:faults
    npm run test:faults -- --command import-tar --call fsync --error ENOSPC

strace(1) makes the k-th fsync, rename, write … of the command and of all that it starts (threads, sync, the engine) fail with EIO or
ENOSPC, for k = 1, 2, … until the command has no more of them. Each time: the error has a code, a message and a hint and is no stack trace;
`verify` finds nothing; the other container can be listed; the command, run again, succeeds and leaves nothing in staging.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
CLI = f'{PROJECT}/bin/templatefs'
CALLS = ('fsync', 'fdatasync', 'syncfs', 'rename', 'renameat2', 'link', 'unlink', 'unlinkat', 'mkdir', 'mkdirat', 'pwrite64', 'ftruncate', 'flock', 'mount')
ERRORS = ('EIO', 'ENOSPC')
WAIT_S = 120


class Fault(Exception):
    """A command did not take a failing system call as it should."""


class Stores:
    """A store for each case, copied from one that is made once."""

    def __init__(self, base):
        self.base = base
        self.store = f'{base}/store'
        self.pattern = f'{base}/pattern'

    def make(self):
        source = f'{self.base}/source'
        os.makedirs(f'{source}/usr/deep')
        for i in range(6):
            with open(f'{source}/usr/deep/f{i}', 'wb') as f:
                f.write(b'%d-' % i * (1 + 30_000 * i))
        os.symlink('deep', f'{source}/usr/link')
        for arguments in (('template', 'import', 'base', source), ('create', 'c', '--ostemplate', 'base'), ('create', 'other', '--ostemplate', 'base')):
            self.ok(*arguments)
        with open(f'{source}/usr/more', 'w') as f:
            f.write('more')
        with tarfile.open(f'{self.base}/source.tar', 'w') as tar:
            tar.add(source, arcname='.')
        os.rename(self.store, self.pattern)

    def fresh(self):
        self.end()
        shutil.rmtree(self.store, ignore_errors=True)
        subprocess.run(['cp', '-a', self.pattern, self.store], check=True)

    def end(self):
        """Nothing of a case stays mounted."""
        for name in os.listdir(f'{self.store}/root') if os.path.isdir(f'{self.store}/root') else ():
            self.run('umount', name, '--force')
            subprocess.run(['umount', '-l', f'{self.store}/root/{name}'], stderr=subprocess.DEVNULL, check=False)

    def run(self, *arguments, before=()):
        command = [*before, CLI, '--json', '--store', self.store, *arguments]
        # Files and no pipes: an engine that stays would keep those open.
        with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=WAIT_S, check=False).returncode
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    def ok(self, *arguments, allowed=()):
        status, out, err = self.run(*arguments)
        if status == 0:
            return json.loads(out) if out else None
        if error_of(err).get('code') in allowed:
            return None
        raise Fault(f'then `templatefs {" ".join(arguments)}` ended with status {status}: {err.strip()}')


def error_of(stderr):
    try:
        return json.loads(stderr.strip().splitlines()[-1])['error']
    except (ValueError, KeyError, IndexError):
        return {}


def names(stores, *arguments):
    return [entry['name'] for entry in stores.ok(*arguments)]


def commands(stores):
    """name → arguments, commands before, codes that say that it was done before, and whether it is done now"""
    tar, folder = f'{stores.base}/source.tar', f'{stores.base}/source'
    mounted = [('mount', 'c')]
    return {
        'import-tar': (['template', 'import', 'new', tar], [], ['TEMPLATE_EXISTS'], lambda: 'new' in names(stores, 'template', 'list')),
        'import-folder': (['template', 'import', 'new', folder], [], ['TEMPLATE_EXISTS'], lambda: 'new' in names(stores, 'template', 'list')),
        'template-remove': (['template', 'remove', 'new'], [('template', 'import', 'new', tar)], ['TEMPLATE_NOT_FOUND'], lambda: 'new' not in names(stores, 'template', 'list')),
        'create': (['create', 'new', '--ostemplate', 'base'], [], ['CONTAINER_EXISTS'], lambda: 'new' in names(stores, 'list')),
        'mount': (['mount', 'c'], [], [], lambda: os.path.ismount(f'{stores.store}/root/c')),
        'umount': (['umount', 'c'], mounted, [], lambda: not os.path.ismount(f'{stores.store}/root/c')),
        'quota': (['quota', 'c', '--size', '50M'], [], [], lambda: stores.ok('quota', 'c')['sizeBytes'] == 50 << 20),
        'quota-mounted': (['quota', 'c', '--inodes', '1000'], mounted, [], lambda: stores.ok('quota', 'c')['inodes'] == 1000),
        'exec': (['exec', 'c', '--', '/nothing'], [], ['FAILED'], lambda: True),
        'destroy': (['destroy', 'c'], [], ['CONTAINER_NOT_FOUND'], lambda: 'c' not in names(stores, 'list')),
        'rebuild': (['catalog', 'rebuild'], [], [], lambda: names(stores, 'list') == ['c', 'other']),
        'verify': (['verify'], [], [], lambda: True),
    }


def run_case(stores, name, call, error, number):
    """@returns whether there was such a call to fail @raises Fault"""
    stores.fresh()
    arguments, before, allowed, is_done = commands(stores)[name]
    for earlier in before:
        stores.ok(*earlier)
    trace = f'{stores.base}/trace'
    strace = ['strace', '-f', '-qq', '-o', trace, '-e', f'trace={call}', '-e', f'inject={call}:error={error}:when={number}']
    status, out, err = stores.run(*arguments, before=strace)
    with open(trace, errors='replace') as f:
        if '(INJECTED)' not in f.read():
            return False
    said = error_of(err)
    what = f'{name}: {call} number {number} fails with {error}'
    if name != 'exec':
        if status == 0:
            # What is done all the same must really be done.
            if not is_done():
                raise Fault(f'{what}: the command says that it was done, and it is not')
        else:
            check_error(what, said, err)
    elif '    at ' in err:
        raise Fault(f'{what}: a stack trace: {err}')
    try:
        if name == 'rebuild' and error_of(stores.run('list')[2]).get('code') == 'BAD_CATALOG':
            stores.ok('catalog', 'rebuild')
        problems = stores.ok('verify')['problems']
        if problems:
            raise Fault(f'verify finds {problems}')
        if 'other' not in names(stores, 'list'):
            raise Fault('the other container is not listed')
        if name == 'exec':
            status, out, err = stores.run(*arguments)
            if status != 127 and status != 126 and not error_of(err):
                raise Fault(f'run again it ended with status {status}: {out} {err}')
        else:
            stores.ok(*arguments, allowed=allowed)
        if not is_done():
            raise Fault('run again it is not done')
        left = [entry for entry in os.listdir(f'{stores.store}/staging')] if os.path.isdir(f'{stores.store}/staging') else []
        if left and name.startswith('import'):
            raise Fault(f'staging holds {left}')
        drafts = [entry for entry in os.listdir(f'{stores.store}/private') if entry.startswith('.')]
        if drafts:
            raise Fault(f'private/ holds {drafts}')
    except Fault as fault:
        raise Fault(f'{what}; it said {said or "nothing"}; {fault}') from fault
    return True


def check_error(what, said, err):
    if not said.get('code') or not said.get('message') or not said.get('hint'):
        raise Fault(f'{what}: no code, message and hint: {err.strip()}')
    if said['code'] in ('UNEXPECTED', 'INTERNAL') or 'not expected' in err or '    at ' in err:
        raise Fault(f'{what}: {err.strip()}')


def main():
    parser = argparse.ArgumentParser(prog='npm run test:faults --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--command', action='append', help='only this one')
    parser.add_argument('--call', action='append', help='only this system call')
    parser.add_argument('--error', action='append', choices=ERRORS)
    parser.add_argument('--every', type=int, default=1, help='only each so many-th case')
    parser.add_argument('--most', type=int, default=40, help='how many calls of one kind of a command')
    parser.add_argument('--folder', help='where the stores are')
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which('strace') is None:
        print('faults: this test needs root and strace\n  hint: run as root; apt-get install strace', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started, cases, failed, count = time.monotonic(), 0, 0, 0
    base = tempfile.mkdtemp(prefix='templatefs-faults-', dir=options.folder)
    stores = Stores(base)
    try:
        stores.make()
        for name in options.command or commands(stores):
            for call in options.call or CALLS:
                for error in options.error or ERRORS:
                    for number in range(1, options.most + 1):
                        count += 1
                        if count % options.every:
                            continue
                        try:
                            if not run_case(stores, name, call, error, number):
                                break
                        except Fault as fault:
                            failed += 1
                            print(fault, flush=True)
                        cases += 1
    finally:
        stores.end()
        shutil.rmtree(base, ignore_errors=True)
    took = time.monotonic() - started
    print(f'faults: {cases} cases, {failed} failed, {int(took // 60)}m{int(took % 60):02}s')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
