"""Commands that copy containers: clones, snapshots, backups, images. Which file or container they make, and how to see it."""
import os


class CopyCommand:
    """`before`: commands, or functions to be called. `again`: codes that say that it was done already."""

    def __init__(self, arguments, done, before=(), again=()):
        self.arguments, self.done, self.before, self.again = arguments, done, list(before), list(again)


def make_image(store, base):
    """For `import-oci`, outside of the store."""
    store.ok('export', 'other', f'oci:{base}/image')


def change(store):
    """What `restore` has to undo."""
    store.ok('mount', 'c')
    with open(f'{store.root()}/changed', 'w') as f:
        f.write('after the snapshot')
    store.ok('umount', 'c')


def is_changed(store):
    was_mounted = os.path.ismount(store.root())
    store.ok('mount', 'c')
    found = os.path.exists(f'{store.root()}/changed')
    if not was_mounted:
        store.ok('umount', 'c')
    return found


def copy_commands(store, base, target):
    """`target`: an empty folder for what is made outside of the store."""
    mount, snapshot = ('mount', 'c'), ('snapshot', 'c', '--name', 's')
    has_container = lambda: 'new' in store.names('list')
    has_template = lambda: 'new' in store.names('template', 'list')
    has_snapshot = lambda: 's' in [one['id'] for one in store.ok('snapshot', 'list', 'c')]
    there = lambda name: lambda: os.path.exists(f'{target}/{name}')
    return {
        'clone': CopyCommand(['clone', 'c', 'new'], has_container, again=['CONTAINER_EXISTS']),
        'clone-mounted': CopyCommand(['clone', 'c', 'new'], has_container, before=[mount], again=['CONTAINER_EXISTS']),
        'snapshot': CopyCommand(['snapshot', 'c', '--name', 's'], has_snapshot, again=['SNAPSHOT_EXISTS']),
        'snapshot-mounted': CopyCommand(['snapshot', 'c', '--name', 's'], has_snapshot, before=[mount], again=['SNAPSHOT_EXISTS']),
        'snapshot-remove': CopyCommand(['snapshot', 'remove', 'c', 's'], lambda: not has_snapshot(), before=[snapshot], again=['SNAPSHOT_NOT_FOUND']),
        'restore': CopyCommand(['restore', 'c', 's'], lambda: not is_changed(store), before=[snapshot, lambda: change(store)]),
        'commit': CopyCommand(['commit', 'c', 'new'], has_template, again=['TEMPLATE_EXISTS']),
        'backup': CopyCommand(['backup', 'c', f'{target}/c.backup'], there('c.backup')),
        'restore-backup': CopyCommand(['restore', f'{target}/c.backup', '--name', 'new'], has_container, before=[('backup', 'c', f'{target}/c.backup')], again=['CONTAINER_EXISTS']),
        'export': CopyCommand(['export', 'c', f'{target}/c.tar'], there('c.tar')),
        'export-layout': CopyCommand(['export', 'c', f'oci:{target}/c'], there('c/index.json')),
        'import-oci': CopyCommand(['template', 'import', 'new', f'oci:{base}/image'], has_template, again=['TEMPLATE_EXISTS']),
        'bundle': CopyCommand(['bundle', 'c', f'{target}/bundle'], there('bundle/config.json'), again=['FAILED']),
    }
