#!/usr/bin/env python3
"""Cuts the power of a file system that a store lies on, at random, and looks whether anything is lost.

    npm run test:power-loss -- --cuts 2000 --file-system xfs

Each cut has a seed, which settles what was going on: a container at work on its root (files of the template are copied up, renamed,
exchanged, linked, truncated, mapped, merged with objects; SQLite transactions), or a command (import, create, destroy, quota, template
remove, gc, repair, catalog rebuild, link, snapshot, clone, restore, commit, backup, mount, umount), or a change of packages by the real apt and dpkg (install, also as a replay,
localinstall, update, remove, rollback, each also in a mounted container). The file system is shut down by its own ioctl, everything is killed, unmounted and mounted again. Then: what was
fsync'ed, or said to be done by a command, is there whole; names and metadata are those of one moment; no sector holds what nobody
wrote; `verify` is clean; the command can be run again. After a change of packages that was cut the next command makes the container
what it was before, or after, files and package database. What happens between two system calls is up to the scheduler: a seed that failed may
pass when it is run again, so --repeat runs each of them several times.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, '../mount/differential'), os.path.join(HERE, '../support')]

# pylint: disable=wrong-import-position
from commands import CommandCut  # noqa: E402
from job import PROJECT, Job  # noqa: E402
from operations import BROKEN  # noqa: E402
from packages import NAMES as PACKAGE_STORIES, PackageCut  # noqa: E402
from roots import Failed, RootCut  # noqa: E402
from stories import STORIES, Story  # noqa: E402
from syscalls import die_with_parent  # noqa: E402
from volume import CUTS  # noqa: E402

KINDS = {'ext4': ['ext4'], 'xfs': ['xfs', 'xfs-no-reflink']}
COMMANDS_OF_ROOTS = 8  # one cut of so many goes into a command
PACKAGES_OF_ROOTS = 32  # and one of so many, each as long as ten others, into a change of packages
PROGRESS_S = 60


def main():
    options = parse()
    BROKEN[0] = options.broken
    for path, hint in ((options.engine, 'run `npm run build`'), (f'{PROJECT}/dist/cli/main.js', 'run `npm run build`')):
        if not os.path.exists(path):
            print(f'power-loss: {path} is missing\n  hint: {hint}', file=sys.stderr)
            return 1
    if os.geteuid() != 0:
        print('power-loss: this test mounts file systems\n  hint: run it as root', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.stories:
        # Each kind of cut on each kind of file system: the seed counts them.
        options.seed, options.cuts = 0, len(STORIES) * len(CUTS) * len(KINDS[options.file_system])
    seeds = [seed for seed in range(options.seed, options.seed + options.cuts) for _ in range(options.repeat)]
    started = time.monotonic()
    base = tempfile.mkdtemp(prefix='templatefs-power-loss-', dir=options.folder)
    try:
        cuts, losses, mishaps = run_all(options, base, seeds, progress(options, len(seeds)))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    took = time.monotonic() - started
    tried = f', {mishaps} cuts that could not be made' if mishaps else ''
    print(f'power-loss: {cuts} cuts on {options.file_system}, {losses} losses{tried}, {int(took // 60)}m{int(took % 60):02}s')
    return 1 if losses or cuts < len(seeds) else 0


def progress(options, count):
    """@returns what says now and then how far it is"""
    if not options.verbose:
        return lambda *_numbers: None
    said = [time.monotonic()]

    def tell(cuts, losses, mishaps):
        if time.monotonic() - said[0] >= PROGRESS_S:
            said[0] = time.monotonic()
            print(f'power-loss: {cuts} of {count} cuts on {options.file_system}, {losses} losses, {mishaps} that could not be made', flush=True)
    return tell


def parse():
    parser = argparse.ArgumentParser(prog='npm run test:power-loss --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cuts', type=int, default=200, help='how many')
    parser.add_argument('--file-system', choices=list(KINDS), default='ext4')
    parser.add_argument('--seed', type=int, default=1, help='of the first cut; each has the next number')
    parser.add_argument('--repeat', type=int, default=1, help='how often each seed is run')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='cuts at a time')
    parser.add_argument('--only', choices=['roots', 'commands', 'packages'], help='only such cuts')
    parser.add_argument('--command', help='only cuts of this command; of packages: ' + ', '.join(PACKAGE_STORIES))
    parser.add_argument('--verbose', action='store_true', help='say each minute how far it is')
    parser.add_argument('--stories', action='store_true', help='in place of cuts at random: what those have found, each in the same way every time')
    parser.add_argument('--break', dest='broken', metavar='OPERATION', choices=['fsync', 'fdatasync', 'fsync_folder'], help='this is said to be done and is not: does the test find it?')
    parser.add_argument('--keep-going', action='store_true', help='goes on after a loss')
    parser.add_argument('--folder', default='/dev/shm' if os.access('/dev/shm', os.W_OK) else None, help='where the images are; best in memory')
    parser.add_argument('--engine', default=os.environ.get('TEMPLATEFS_ENGINE', f'{PROJECT}/build/Release/templatefs-engine'))
    return parser.parse_args()


def run_all(options, base, seeds, tell):
    """Deals the seeds out to `--jobs` processes. @returns how many cuts there were, how many losses, and how many cuts could not be made"""
    if make_bases(options, f'{base}/bases', any(kind_of(options, seed) == 'packages' for seed in seeds)) != 0:
        return 0, 0, 0
    jobs = max(1, min(options.jobs, len(seeds)))
    reader, writer = os.pipe()
    children = []
    for number in range(jobs):
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            start_job(options, base, str(number), seeds[number::jobs], writer)
        children.append(pid)
    os.close(writer)
    cuts = losses = mishaps = 0
    try:
        while message := os.read(reader, 1):
            cuts += message != b'M'
            losses += message == b'L'
            mishaps += message == b'M'
            tell(cuts, losses, mishaps)
            if losses and not options.keep_going:
                break
    except SystemExit:
        pass  # ended early: what was done until then is told
    finally:
        for pid in children:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
    return cuts, losses, mishaps


def make_bases(options, folder, with_packages):
    """The images that all cuts start from, made by a process that ends with its mounts. @returns its status"""
    os.mkdir(folder)
    pid = os.fork()
    if pid == 0:
        in_job(options, f'{folder}/making', lambda job: job.make_bases(folder, KINDS[options.file_system], with_packages))
    return os.waitpid(pid, 0)[1]


def start_job(options, base, name, seeds, writer):
    def work(job):
        job.load_bases(f'{base}/bases', KINDS[options.file_system])
        for seed in seeds:
            os.write(writer, run_one(options, job, seed))
    in_job(options, f'{base}/{name}', work)


def in_job(options, folder, work):
    """Ends this process."""
    status = 1
    job = None
    try:
        die_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        job = Job(options.engine, folder)
        job.enter()
        work(job)
        status = 0
    except SystemExit as ended:
        status = ended.code
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if job is not None:
            job.leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_one(options, job, seed):
    kinds = KINDS[options.file_system]
    job.use(kinds[seed % len(kinds)])
    if options.stories:
        names, cuts = list(STORIES), list(CUTS)
        return run_cut(options, job, seed, Story(job, names[seed // len(kinds) % len(names)], cuts[seed // len(kinds) // len(names)]))
    match kind_of(options, seed):
        case 'packages':
            return run_cut(options, job, seed, PackageCut(job, seed, options.command))
        case 'commands':
            return run_cut(options, job, seed, CommandCut(job, seed, options.command))
    return run_cut(options, job, seed, RootCut(job, seed))


def kind_of(options, seed):
    if options.stories:
        return 'stories'
    if options.command:
        return 'packages' if options.command in PACKAGE_STORIES else 'commands'
    if options.only:
        return options.only
    if seed % COMMANDS_OF_ROOTS == 0:
        return 'commands'
    return 'packages' if seed % PACKAGES_OF_ROOTS == PACKAGES_OF_ROOTS // 2 + 1 else 'roots'


def run_cut(options, job, seed, cut):
    try:
        cut.execute()
        return b'.'
    except (RuntimeError, subprocess.SubprocessError) as mishap:
        # Of the machine that the test runs on: a mount that something else holds, a command that had no time.
        print(f'seed {seed} on {job.kind}: no cut: {mishap}', flush=True)
        job.give_up()
        return b'M'
    except (Failed, OSError) as loss:
        if isinstance(loss, OSError):
            traceback.print_exc()
        print(f'seed {seed} on {job.kind}: {loss}\n  again: npm run test:power-loss -- --file-system {options.file_system} --seed {seed} --cuts 1 --repeat 20', flush=True)
        return b'L'


if __name__ == '__main__':
    sys.exit(main())
