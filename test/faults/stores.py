"""Running the command line on a store, and what a failed command must say."""
import glob
import json
import os
import subprocess
import tempfile

PROJECT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
CLI = f'{PROJECT}/bin/templatefs'
WAIT_S = 300
# docs/cli.md
STATUS = {'NO_SPACE': 1, 'STORE_NOT_WRITABLE': 1, 'IO_ERROR': 1, 'FAILED': 1, 'ENGINE_FAILED': 13, 'BUSY': 11, 'INTEGRITY': 12, 'BAD_CATALOG': 12, 'PACKAGE_MANAGER_FAILED': 14}


class Fault(Exception):
    """Something did not take a failing system call, or a full disk, as it should."""


class Store:
    """One store, and the command line on it."""

    def __init__(self, path):
        self.path = path
        self.environment = {}  # of commands, beside what this process has

    def variables(self):
        return {**os.environ, **self.environment}

    def run(self, *arguments, before=()):
        command = [*before, CLI, '--json', '--store', self.path, *arguments]
        # Files and no pipes: an engine that stays would keep those open.
        with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.variables(), timeout=WAIT_S, check=False).returncode
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    def start(self, *arguments):
        """@returns the process; its output is in `out` and `err`, which are files"""
        out, err = tempfile.TemporaryFile('w+'), tempfile.TemporaryFile('w+')
        process = subprocess.Popen([CLI, '--json', '--store', self.path, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.variables())
        process.out, process.err = out, err
        return process

    def ok(self, *arguments, allowed=()):
        status, out, err = self.run(*arguments)
        if status == 0:
            return answer_of(out)
        if error_of(err).get('code') in allowed:
            return None
        raise Fault(f'then `templatefs {" ".join(arguments)}` ended with status {status}: {err.strip()} {out.strip()[:600]}')

    def names(self, *arguments):
        return [entry['name'] for entry in self.ok(*arguments)]

    def verify(self):
        problems = self.ok('verify')['problems']
        if problems:
            raise Fault(f'verify finds {problems}')

    def root(self, name='c'):
        return f'{self.path}/root/{name}'

    def end(self):
        """Nothing stays mounted."""
        for name in os.listdir(f'{self.path}/root') if os.path.isdir(f'{self.path}/root') else ():
            self.run('umount', name, '--force')
            subprocess.run(['umount', '-l', self.root(name)], stderr=subprocess.DEVNULL, check=False)

    def do(self, steps):
        """Commands, or what is to be called."""
        for step in steps:
            if callable(step):
                step()
            else:
                self.ok(*step)

    def check_leftovers(self, what=('staging', 'drafts')):
        staging = f'{self.path}/staging'
        left = os.listdir(staging) if os.path.isdir(staging) else []
        if left and 'staging' in what:
            raise Fault(f'staging holds {left}')
        drafts = [entry for entry in os.listdir(f'{self.path}/private') if entry.startswith('.') and entry != '.snapshots']
        for folder in glob.glob(f'{self.path}/private/.snapshots/*'):
            drafts += [entry for entry in os.listdir(folder) if entry.startswith('.')]
        if drafts and 'drafts' in what:
            raise Fault(f'private/ holds {drafts}')


def answer_of(out):
    """Its document; what a command in a container has said as it is."""
    try:
        return json.loads(out) if out else None
    except ValueError:
        return out


def error_of(stderr):
    try:
        return json.loads(stderr.strip().splitlines()[-1])['error']
    except (ValueError, KeyError, IndexError):
        return {}


def check_error(status, err, codes=None):
    """The error has a code that fits, a message, a hint and the documented status. @raises Fault"""
    said = error_of(err)
    if not said.get('code') or not said.get('message') or not said.get('hint'):
        raise Fault(f'no code, message and hint: {err.strip()}')
    if said['code'] in ('UNEXPECTED', 'INTERNAL') or 'not expected' in err or '    at ' in err:
        raise Fault(f'a stack trace: {err.strip()}')
    if STATUS.get(said['code'], status) != status:
        raise Fault(f'{said["code"]} with exit status {status}')
    if codes is not None and said['code'] not in codes:
        raise Fault(f'{said["code"]} in the place of {" or ".join(codes)}: {said["message"]}')
