#!/usr/bin/env python3
"""Processes that change one SQLite database at once, in a way that can be checked: sqlite_load.py STEP DATABASE [OPTION]...

  make   a database of --megabytes, whose accounts hold 1000 each, and whose blobs hold what `blob` says
  work   --writers and --readers on it for --transactions each, in --mode with --mmap bytes mapped; a writer moves money
         and rewrites blobs, a reader sees the same sum each time, and only whole transactions
  crash  the same with a writer that is killed by SIGKILL in the middle of a transaction, again and again
  check  integrity_check and foreign_key_check, the sum, and every blob

What is wrong is told on stderr, and the status is 1.
"""
import argparse
import hashlib
import os
import random
import signal
import sqlite3
import sys
import time

ACCOUNTS, SUM, BLOB = 500, 500_000, 4000

parser = argparse.ArgumentParser()
parser.add_argument('step', choices=['make', 'work', 'crash', 'check'])
parser.add_argument('database')
parser.add_argument('--megabytes', type=int, default=30)
parser.add_argument('--mode', default='WAL')
parser.add_argument('--mmap', type=int, default=0)
parser.add_argument('--writers', type=int, default=3)
parser.add_argument('--readers', type=int, default=2)
parser.add_argument('--transactions', type=int, default=40)
options = parser.parse_args()


def blob(number, version):
    """What blob `number` holds after it was written `version` times."""
    return hashlib.shake_128(f'{number} {version}'.encode()).digest(BLOB)


def connect():
    # Others hold the lock for long on a slow machine: waiting is no failure.
    database = sqlite3.connect(options.database, timeout=120, isolation_level=None)
    database.execute(f'PRAGMA mmap_size = {options.mmap}')
    database.execute('PRAGMA synchronous = NORMAL')
    database.execute('PRAGMA wal_autocheckpoint = 100')
    return database


def set_mode():
    database = connect()
    (mode,) = database.execute(f'PRAGMA journal_mode = {options.mode}').fetchone()
    if mode.upper() != options.mode:
        sys.exit(f'the journal mode is {mode}, not {options.mode}')
    if options.mmap and database.execute('PRAGMA mmap_size').fetchone() != (options.mmap,):
        sys.exit('the mapping was refused')
    database.close()


def write(database, rng):
    """One transaction: money from one to another, and a few blobs anywhere in the file."""
    one, other = rng.sample(range(ACCOUNTS), 2)
    database.execute('BEGIN IMMEDIATE')
    database.execute('UPDATE account SET money = money - 7 WHERE id = ?', (one,))
    for _ in range(4):
        number = rng.randrange(blobs)
        ((version,),) = database.execute('SELECT version FROM blob WHERE id = ?', (number,)).fetchall()
        database.execute('UPDATE blob SET version = ?, data = ? WHERE id = ?', (version + 1, blob(number, version + 1), number))
    database.execute('UPDATE account SET money = money + 7 WHERE id = ?', (other,))
    database.execute('COMMIT')


def writer(seed, count):
    database, rng = connect(), random.Random(seed)
    while count != 0:
        count -= 1
        write(database, rng)
    database.close()


def reader(seed, count):
    database, rng = connect(), random.Random(seed)
    for _ in range(count):
        database.execute('BEGIN')
        for _ in range(2):
            found = database.execute('SELECT sum(money) FROM account').fetchone()[0]
            if found != SUM:
                sys.exit(f'a reader saw {found}, not {SUM}')
            number = rng.randrange(blobs)
            version, data = database.execute('SELECT version, data FROM blob WHERE id = ?', (number,)).fetchone()
            if data != blob(number, version):
                sys.exit(f'a reader saw a wrong blob {number}')
        database.execute('COMMIT')
    database.close()


def start(work, *args):
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)
        except BaseException as error:  # What a child ends with is its status.
            print(f'{work.__name__}: {error!r}', file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def wait(pids):
    failed = [pid for pid in pids if os.waitpid(pid, 0)[1] != 0]
    if failed:
        sys.exit(f'{len(failed)} of {len(pids)} processes failed')


def check():
    database = connect()
    for pragma in ('integrity_check', 'foreign_key_check'):
        found = database.execute(f'PRAGMA {pragma}').fetchall()
        if found not in ([('ok',)], []):
            sys.exit(f'{pragma}: {found[:5]}')
    found = database.execute('SELECT sum(money), count(*) FROM account').fetchone()
    if found != (SUM, ACCOUNTS):
        sys.exit(f'accounts: {found}')
    versions = 0
    for number, version, data in database.execute('SELECT id, version, data FROM blob'):
        versions += version
        if data != blob(number, version):
            sys.exit(f'blob {number} is wrong at version {version}')
    database.close()
    return versions


if options.step == 'make':
    made = connect()
    made.execute(f'PRAGMA journal_mode = {options.mode}')
    made.execute('BEGIN')
    made.execute('CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER NOT NULL)')
    made.execute('CREATE TABLE blob (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL, owner REFERENCES account (id))')
    made.executemany('INSERT INTO account VALUES (?, 1000)', ((n,) for n in range(ACCOUNTS)))
    made.executemany('INSERT INTO blob VALUES (?, 0, ?, ?)', ((n, blob(n, 0), n % ACCOUNTS) for n in range(options.megabytes * 250)))
    made.execute('COMMIT')
    made.execute('CREATE INDEX by_owner ON blob (owner, version)')
    made.close()
    sys.exit(0)

if options.step == 'check':
    check()
    sys.exit(0)

before = check()
counted = connect()
(blobs,) = counted.execute('SELECT count(*) FROM blob').fetchone()
counted.close()
set_mode()
if options.step == 'work':
    readers = [start(reader, n, options.transactions) for n in range(options.readers)]
    wait(readers + [start(writer, 100 + n, options.transactions) for n in range(options.writers)])
    if check() != before + options.writers * options.transactions * 4:
        sys.exit('a committed transaction is missing')
else:
    rng = random.Random(5)
    for turn in range(12):
        readers = [start(reader, turn, 30)]
        victims = [start(writer, 1000 + 10 * turn + n, -1) for n in range(2)]
        time.sleep(0.05 + rng.random() * 0.25)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
            if os.waitpid(pid, 0)[1] != signal.SIGKILL:
                sys.exit('a writer ended before it was killed')
        wait(readers)
        check()
