"""What cuts at random have found, each as a story that happens the same way every time: operations, then at once a cut."""
from engine import EngineRoot
from operations import apply, perform
from roots import Failed, Log, RootCut

BLOCKS = ['--whole-copy-limit', '0']


def write(path, offset, length, flag=''):
    return {'op': 'write', 'path': path, 'offset': offset, 'length': length, 'flag': flag}


MERGE = {'op': 'merge', 'path': 'data/new', 'answer': 'merged'}


def copy(path, source):
    """`source`: of the template; its number is looked up when it is done."""
    return {'op': 'copy', 'path': path, 'source': source}


STORIES = {
    # name: (options of the engine, operations, whether the root is unmounted before the cut)
    'fdatasync of a template file that was changed in place': ([], [write('usr/a/odd', 4096, 512), {'op': 'fdatasync', 'path': 'usr/a/odd'}], False),
    'a write with O_DSYNC to a template file': ([], [write('usr/a/odd', 4096, 512, 'O_DSYNC')], False),
    'msync of a mapped template file': ([], [{'op': 'store', 'path': 'data/a/odd', 'offset': 10, 'length': 500, 'sync': True}], False),
    'fdatasync of a template file that is changed block by block': (BLOCKS, [write('usr/a/larger', 8192, 4096), {'op': 'fdatasync', 'path': 'usr/a/larger'}], False),
    'fdatasync after a hole in a template file': (
        BLOCKS, [write('usr/a/larger', 8192, 100), {'op': 'fsync', 'path': 'usr/a/larger'},
                 {'op': 'fallocate', 'path': 'usr/a/larger', 'mode': 'punch', 'offset': 1_200_000, 'length': 100_000}, {'op': 'fdatasync', 'path': 'usr/a/larger'}], False),
    'a file that was durable before it was merged': (
        [], [copy('data/new', 'usr/a/middle'), {'op': 'fsync', 'path': 'data/new'}, {'op': 'fsync_folder', 'path': 'data'}, MERGE], False),
    'fsync of a file that was merged before it was written out': ([], [copy('data/new', 'usr/a/odd'), MERGE, {'op': 'fsync', 'path': 'data/new'}], False),
    'fdatasync of a template file that became private and was merged again': (
        [], [{'op': 'open_write', 'path': 'usr/a/large'}, MERGE | {'path': 'usr/a/large'}, {'op': 'fdatasync', 'path': 'usr/a/large'}], False),
    'a write to a merged file, and its fsync': (
        [], [copy('data/new', 'usr/a/middle'), MERGE, write('data/new', 5000, 700), {'op': 'fsync', 'path': 'data/new'}], False),
    'an unmount': ([], [write('usr/a/odd', 100, 4096), {'op': 'create', 'path': 'data/b/new', 'mode': 0o644}, write('data/b/new', 0, 9000), {'op': 'mkdir', 'path': 'data/folder', 'mode': 0o755}], True),
}


class Story(RootCut):
    def __init__(self, job, name, how):
        super().__init__(job, 0)
        self.name, self.how, self.sqlite = name, how, False
        self.options, operations, self.unmount = STORIES[name]
        self.operations = [op | {'source': self.model.names[op['source']].number} if 'source' in op else op for op in operations]

    def execute(self):
        volume = self.job.fresh_volume()
        engine = EngineRoot(self.job, volume, self.options)
        log = Log(self.job.path('log'))
        try:
            engine.mount()
            for number, op in enumerate(self.operations, 1):
                log.put('begin', number, op)
                result = perform(engine.path, self.model, number, op)
                log.put('end', number, result)
                # Operations look at the model. What is compared in the end is another one, made from the log.
                apply(self.model, number, op, result)
            if self.unmount:
                self.job.cli(volume, 'umount', 'c')
                engine.pids = []
            volume.cut(self.how)
        finally:
            engine.kill()
            volume.umount()
        self.model = self.new_model()
        try:
            self.replay(log)
            self.look(volume)
        except Failed as loss:
            raise Failed(f'{self.name} ({self.how}): {loss}') from loss
