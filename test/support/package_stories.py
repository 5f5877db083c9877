"""Changes of packages by the real apt and dpkg, and what a container must look like when one of them was disturbed.

In a store that `fill` has filled are two containers that are the same but for what was installed: `empty` has nothing, `full` has version 1.0 of
the app template `tool`. What would install tool-data is recorded. The distribution and its two repositories are those of mini_debian.py.
"""
import contextlib
import os
import sqlite3
import subprocess
import sys

from mini_debian import TEMPLATE
from root_photo import differences, photograph

CONTAINERS = ('empty', 'full')
DATABASE = "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; tool; dpkg --audit; dpkg --verify; ls /usr/sbin/policy-rc.d; cat /srv/mine; :"


class Story:
    """`repository`: where what it needs comes from. `allowed`: codes that say that it was done already."""

    def __init__(self, arguments, repository='old', mounted=False, allowed=()):
        self.arguments, self.repository, self.mounted, self.allowed = arguments, repository, mounted, list(allowed)
        self.container = arguments[1]
        self.others = [name for name in CONTAINERS if name != self.container]

    def environment(self, distribution):
        return environment(distribution, self.repository)


def stories(distribution):
    files = [f'{distribution}/debs/{name}_2.0_all.deb' for name in ('tool-data', 'tool')]
    done = ['TEMPLATE_NOT_FOUND']
    return {
        'install': Story(['install', 'empty', 'tool', '--no-replay']),
        'install-mounted': Story(['install', 'empty', 'tool'], mounted=True),
        # Without the secret that the scripts of `tool` make, it can be replayed.
        'install-data': Story(['install', 'empty', '-p', 'tool-data', '--no-replay']),
        'replay': Story(['install', 'empty', '-p', 'tool-data']),
        'localinstall': Story(['localinstall', 'empty', *files]),
        'update': Story(['update', 'full'], 'new'),
        'update-mounted': Story(['update', 'full'], 'new', mounted=True),
        'remove': Story(['remove', 'full', 'tool'], allowed=done),
        'remove-mounted': Story(['remove', 'full', 'tool'], mounted=True, allowed=done),
        'create-with-app': Story(['create', 'new', '--ostemplate', TEMPLATE, '--apptemplate', 'tool'], allowed=['CONTAINER_EXISTS']),
        'rollback': Story(['rollback', 'full'], allowed=['FAILED']),
        'rollback-mounted': Story(['rollback', 'full'], mounted=True, allowed=['FAILED']),
    }


NAMES = tuple(stories(''))


def environment(distribution, repository):
    return {'TEMPLATEFS_TEMPLATES': f'{distribution}/definitions', 'MINI_REPOSITORY': f'file://{distribution}/{repository}'}


def build_distribution(folder):
    subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), 'mini_debian.py'), folder], check=True)


def fill(cli, distribution):
    """`cli(*arguments, environment=None)` runs a command that must succeed. @returns what each container looks like"""
    cli('template', 'import', TEMPLATE, f'{distribution}/root')
    for name in CONTAINERS:
        cli('create', name, '--ostemplate', TEMPLATE)
        with open(f'{cli("mount", name)["root"]}/srv/mine', 'w') as f:
            f.write('of the container')
        cli('umount', name)
    cli('install', 'full', 'tool', environment=environment(distribution, 'old'))
    cli('create', 'first', '--ostemplate', TEMPLATE)
    cli('install', 'first', '-p', 'tool-data', environment=environment(distribution, 'old'))
    cli('destroy', 'first')
    return {name: state(cli, name) for name in CONTAINERS}


def state(cli, name):
    """(photo of the root, what its package manager says); None without such a container"""
    if name not in CONTAINERS and name not in [one['name'] for one in cli('list')]:
        return None
    photo = photograph(cli('mount', name)['root'])
    answers = cli('exec', name, '--no-network', '--', 'sh', '-c', DATABASE)
    cli('umount', name)
    return photo, answers


def told_as_wanted(name, document):
    """Whether it was a replay where it should be one."""
    return document.get('replayed', False) == (name == 'replay')


def ends_of(name):
    """Stories that it may end as: what cannot be a replay is done by the package manager."""
    return [name, 'install-data'] if name == 'replay' else [name]


def which(found, before, afters, was_mounted=False, unimportant=()):
    """'before' or 'after' and None, or None and what is wrong.

    `afters`: states after undisturbed runs, of each story that it may end as. `unimportant`: beginnings of paths that may differ from those
    """
    if found is None:
        return ('before', None) if before is None else (None, 'the container is gone')
    wrong = []
    for name, references in (('before', [before]), *(('after', after) for after in afters)):
        if references == [None]:
            continue
        # After a power loss numbers go on farther up, and what is put back in a mounted container is made anew.
        ignored = () if name == 'before' and not was_mounted else ('inode number',)
        lines = [line for line in differences(found[0], [photo for photo, _answers in references], ignored) if name == 'before' or not line.startswith(unimportant)]
        if found[1] not in [answers for _photo, answers in references]:
            lines.append(f'the package manager says {found[1]!r} instead of {references[0][1]!r}')
        if not lines:
            return name, None
        wrong += [f'  {len(lines)} differences from {name}:', *(f'    {line}' for line in lines[:8])]
    return None, 'neither as before nor as after\n' + '\n'.join(wrong)


def rows_of(store):
    """(container, number, state) of each transaction, and (operation, subject) of each entry of the journal"""
    with contextlib.closing(sqlite3.connect(f'file:{store}/catalog.sqlite?mode=ro', uri=True)) as catalog:
        return catalog.execute('SELECT container, id, state FROM transactions').fetchall(), catalog.execute('SELECT operation, subject FROM journal').fetchall()


def left_over(store):
    """What commands that were cut short have left of drafts and snapshots, and nobody has cleared away."""
    names = (*CONTAINERS, 'new')
    folders = ['private', *(f'private/.snapshots/{name}' for name in names)]
    left = [f'{folder}/{name}' for folder in folders if os.path.isdir(f'{store}/{folder}') for name in os.listdir(f'{store}/{folder}') if name.startswith(('.', 'temporary-')) and name != '.snapshots']
    transactions, journal = rows_of(store)
    left += [f'a journal entry {entry}' for entry in journal]
    for name in names:
        kept = {f'transaction-{number}' for container, number, condition in transactions if container == name and condition == 'done'}
        folder = f'{store}/private/.snapshots/{name}'
        left += [f'{name}@{entry}' for entry in (os.listdir(folder) if os.path.isdir(folder) else ()) if entry not in kept]
    return left + [f'transaction {number} of {container}' for container, number, condition in transactions if condition == 'running']
