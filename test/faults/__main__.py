#!/usr/bin/env python3
"""Full disks, read-only disks and system calls that fail: what commands and roots make of them.

    npm run test:faults
    npm run test:faults -- --part calls --command import-tar --call fsync --error ENOSPC
    npm run test:faults -- --part volumes --file-system xfs --levels 6
    npm run test:faults -- --part roots

calls: strace(1) makes each fsync, rename, write … of each command, and of all that it starts (threads, sync, the engine), fail with EIO
and ENOSPC. Each time: the error has a code, a message and a hint and is no stack trace; `verify` finds nothing; the other container
can be listed; the command, run again, succeeds and leaves nothing in staging.
volumes: each command on file systems without bytes or inodes, at several levels, and read-only before and in the middle.
roots: what a container does on such a file system.
"""
import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../support'))

# pylint: disable=wrong-import-position
import failing_calls  # noqa: E402
import full_roots  # noqa: E402
import full_volumes  # noqa: E402

PARTS = ('calls', 'volumes', 'roots')


def main():
    parser = argparse.ArgumentParser(prog='npm run test:faults --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--part', action='append', choices=PARTS, help='all of them if left out')
    parser.add_argument('--command', action='append', help='calls, volumes: only this one')
    parser.add_argument('--folder', help='where stores and images are')
    parser.add_argument('--verbose', action='store_true', help='say how each case ended')
    calls = parser.add_argument_group('calls')
    calls.add_argument('--call', action='append', help='only this system call')
    calls.add_argument('--error', action='append', choices=failing_calls.ERRORS)
    calls.add_argument('--repeat', type=int, default=3, help='how many calls alike fail, 0 all (default: 3)')
    calls.add_argument('--once', action='store_true', help='calls alike count for all commands together, not for each')
    calls.add_argument('--every', type=int, default=1, help='only each so many-th case')
    calls.add_argument('--most', type=int, default=failing_calls.MOST, help='only the first so many calls of a kind')
    calls.add_argument('--jobs', type=int, default=2, help='so many at once')
    volumes = parser.add_argument_group('volumes, roots')
    volumes.add_argument('--file-system', action='append', choices=('ext4', 'xfs', 'btrfs'), help='default: ext4 and xfs')
    volumes.add_argument('--way', action='append', choices=full_volumes.WAYS)
    volumes.add_argument('--levels', type=int, default=4, help='how many levels of bytes and inodes left')
    volumes.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    if os.geteuid() != 0 or shutil.which('strace') is None:
        print('faults: this test needs root and strace\n  hint: run as root; apt-get install strace', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started, total, failed, notes = time.monotonic(), 0, 0, ''
    report = (lambda text: print(text, flush=True)) if options.verbose else (lambda text: None)
    kinds = options.file_system or ['ext4', 'xfs']
    base = tempfile.mkdtemp(prefix='templatefs-faults-', dir=options.folder)
    try:
        for part in options.part or PARTS:
            os.makedirs(f'{base}/{part}')
            if part == 'calls':
                done, wrong, left = failing_calls.run_all(f'{base}/{part}', options.command, options.call or failing_calls.CALLS,
                                                          options.error or failing_calls.ERRORS, options, report)
                notes += f', {left} alike left out' if left else ''
            elif part == 'volumes':
                done, wrong = full_volumes.run_all(f'{base}/{part}', kinds, options.way or full_volumes.WAYS, options.command,
                                                   options.levels, options.seed, report)
                notes += f', seed {options.seed}'
            else:
                done, wrong = full_roots.run_all(f'{base}/{part}', kinds, options.way or full_volumes.WAYS, report)
            total += done
            failed += wrong
    finally:
        shutil.rmtree(base, ignore_errors=True)
    took = time.monotonic() - started
    print(f'faults: {total} cases, {failed} failed{notes}, {int(took // 60)}m{int(took % 60):02}s')
    return 1 if failed or total == 0 else 0


if __name__ == '__main__':
    sys.exit(main())
