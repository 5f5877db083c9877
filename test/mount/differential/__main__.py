#!/usr/bin/env python3
"""Random operations by several processes on a root and on a plain ext4 copy of its template, compared throughout.

    npm run test:differential -- --operations 1000000

Operations come from a seed. Each is done on the root, then on the plain copy; results, errnos and what the operation touched
are compared at once, everything every few hundred operations. The engine's worker is killed and the root
remounted at random. At the end of a sequence all actors work at once, each in folders of its own. A sequence that fails is shrunk
and printed as a file that --replay runs again. What is not compared, and why: differences.py.
"""
import argparse
import faulthandler
import json
import os
import shlex
import signal
import sys
import time
import traceback

from draw import Sequence
from run import Run
from setting import PROJECT, Setting, SettingError
from shrink import shrink
from syscalls import die_with_parent

# Sequences take turns with these options of `templatefs-engine mount`.
PRINTED = 50  # longer sequences are only written to the file
VARIANTS = ['', '--whole-copy-limit 0', '--no-passthrough', '--whole-copy-limit 0 --no-passthrough']


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.replay:
        with open(options.replay) as f:
            sequences = [json.load(f)]
    else:
        count = -(-options.operations // options.length)
        sequences = range(options.seed, options.seed + count)
    started = time.monotonic()
    try:
        with Setting(options.engine, options.folder, options.store_folder) as setting:
            setting.broken = options.broken
            done, problem = run_all(setting, options, sequences)
            problem = problem or setting.verify()
    except SettingError as error:
        print(f'differential: {error}', file=sys.stderr)
        return 1
    took = time.monotonic() - started
    if problem:
        print(problem, flush=True)
    print(f'differential: {done} operations, {len(sequences)} seeds, {1 if problem else 0} differences, {int(took // 60)}m{int(took % 60):02}s')
    return 1 if problem else 0


def parse():
    parser = argparse.ArgumentParser(prog='npm run test:differential --', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--operations', type=int, default=20_000, help='how many in all')
    parser.add_argument('--length', type=int, default=2_000, help='operations of a sequence; each has a seed of its own')
    parser.add_argument('--seed', type=int, default=1, help='the first one')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='sequences at a time')
    parser.add_argument('--variant', action='append', metavar='OPTIONS', help=f'options of the engine; sequences take turns with them; default: {VARIANTS}')
    parser.add_argument('--replay', metavar='FILE', help='runs a printed sequence again')
    parser.add_argument('--no-shrink', action='store_true', help='prints a failing sequence as it is')
    parser.add_argument('--shrink-seconds', type=int, default=300, help='how long to look for a shorter one')
    parser.add_argument('--keep', metavar='FILE', default='differential-failure.json', help='where a failing sequence is written')
    parser.add_argument('--break', dest='broken', metavar='OPERATION', help='the root gets this operation wrong: does the test find it?')
    parser.add_argument('--folder', help='on this folder of an ext4 file system instead of a loop device')
    parser.add_argument('--store-folder', help='the store, and with it the root, in this folder: on another file system than the plain copy; draws only values that every Linux file system can keep')
    parser.add_argument('--no-zero-devices', action='store_true', help='makes no devices 0:0: a store on overlayfs cannot keep them')
    parser.add_argument('--engine', default=os.environ.get('TEMPLATEFS_ENGINE', f'{PROJECT}/build/Release/templatefs-engine'))
    options = parser.parse_args()
    options.variant = options.variant or VARIANTS
    options.keep = os.path.abspath(options.keep)  # before actors change the current folder
    return options


def run_all(setting, options, sequences):
    """Deals the sequences out to `--jobs` processes. @returns how many operations were done, and the first problem's text"""
    jobs = max(1, min(options.jobs, len(sequences)))
    reader, writer = os.pipe()
    children = []
    for job in range(jobs):
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            start_job(setting, options, sequences[job::jobs], writer)
        children.append(pid)
    os.close(writer)
    done, problem, unread = 0, None, b''
    try:
        while piece := os.read(reader, 65536):
            *lines, unread = (unread + piece).split(b'\n')
            for line in lines:
                message = json.loads(line)
                done += message.get('done', 0)
                if 'problem' in message and problem is None:
                    problem = message['problem']
                    for pid in children:
                        signal_if_alive(pid)
    finally:
        for pid in children:
            signal_if_alive(pid)
            os.waitpid(pid, 0)
    if problem is None and done < sum(length_of(options, s) for s in sequences):
        problem = 'a process of the test ended before its sequences did'
    return done, problem


def length_of(options, sequence):
    return len(sequence['operations']) if isinstance(sequence, dict) else options.length


def signal_if_alive(pid):
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        pass


def start_job(*arguments):
    """In a process of its own, which must not take the setting away when it ends."""
    status = 1
    try:
        die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        faulthandler.register(signal.SIGUSR2)  # says where it or an actor hangs: see run.py
        status = run_job(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run_job(setting, options, sequences, writer):
    """One process of several: a sequence after the other until one fails, here or elsewhere."""
    ended = []
    signal.signal(signal.SIGUSR1, lambda *_: ended.append(True))
    signal.signal(signal.SIGINT, lambda *_: ended.append(True))
    for given in sequences:
        if ended:
            break
        sequence = given if isinstance(given, dict) else make_sequence(setting, options, given)
        problem = Run(setting, sequence, shlex.split(sequence['settings']['variant'])).execute()
        message = {'done': len(sequence['operations'])}
        if problem:
            message = {'done': problem.index, 'problem': explain(setting, options, sequence, problem)}
        os.write(writer, json.dumps(message).encode() + b'\n')
        if problem:
            break
    return 0


def make_sequence(setting, options, seed):
    drawn = Sequence(seed, options.length, setting.entries)
    variant = options.variant[seed % len(options.variant)]
    settings = {**drawn.settings, 'variant': variant, 'zero_devices': not options.no_zero_devices, 'common': options.store_folder is not None}
    return {'settings': settings, 'operations': drawn.operations, 'own': drawn.own}


def explain(setting, options, sequence, problem):
    """The report of a failing sequence, shrunk if that is wanted."""
    operations, settings = sequence['operations'], sequence['settings']
    lines = [f'seed {settings["seed"]}, operation {problem.index}: {operations[problem.index] if problem.index < len(operations) else "in the concurrent phase"}: {problem.text}']
    print(lines[0], flush=True)
    if problem.index < len(operations):
        sequence = {**sequence, 'operations': operations[:problem.index + 1], 'own': [[] for _ in sequence['own']]}
    if not options.no_shrink:
        def run(shorter):
            return Run(setting, shorter, shlex.split(settings['variant'])).execute()
        careful = {**sequence, 'settings': {**settings, 'look': 1}}
        sequence = careful if run(careful) else sequence
        sequence = shrink(sequence, lambda shorter: run(shorter) is not None, lambda text: print(text, flush=True), options.shrink_seconds)
        careful = {**sequence, 'settings': {**sequence['settings'], 'look': 1, 'walk': 1}}
        sequence = careful if run(careful) else sequence
        again = run(sequence)
        lines.append(f'shrunk to {len(sequence["operations"])} operations: {again.text if again else "it failed before, but not now"}')
    operations = [*sequence['operations'], *(op for own in sequence['own'] for op in own)]
    if len(operations) <= PRINTED:
        lines += [json.dumps(op) for op in operations]
    with open(options.keep, 'w') as f:
        json.dump(sequence, f)
    return '\n'.join([*lines, f'replay: npm run test:differential -- --replay {options.keep}'])


if __name__ == '__main__':
    sys.exit(main())
