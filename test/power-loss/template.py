"""The hierarchy that the template is made of. `usr` lies on a shared path, `data` does not; both hold the same.

Every word of a content says where it comes from: file, operation and place. So a look at any sector after a cut tells what
wrote it, and zeros or another file's bytes are never taken for something that the container wrote.
"""
import os
import random
import sqlite3
import struct

TOPS = ('usr', 'data')
CONTENT_SEED = 4711
MTIME_NS = 10**18 + 5
SIZES = {'empty': 0, 'short': 100, 'page': 4096, 'odd': 9000, 'middle': 70_001, 'large': 300_000, 'larger': 1_300_000, 'linked': 20_000}


def content(file, operation, offset, length):
    """`length` bytes of what `operation` writes at `offset` of a file; operation 0 is the template."""
    first = offset // 8
    count = (offset + length + 7) // 8 - first
    # An odd multiplier: words of one content differ, and none is zero.
    base = ((file * 1_000_003 + operation) << 24) & 0xFFFFFFFFFFFFFFFF
    words = struct.pack(f'<{count}Q', *((base + 0x9E3779B1 * (first + i + 1)) & 0xFFFFFFFFFFFFFFFF | 1 for i in range(count)))
    skip = offset - first * 8
    return words[skip:skip + length]


def build(base):
    """Makes the hierarchy. The number of a file in contents is its position in the walk of `walk_names`."""
    rng = random.Random(CONTENT_SEED)
    number = 0
    for top in TOPS:
        for folder in ('a', 'a/deep', 'b', 'gone'):
            os.makedirs(f'{base}/{top}/{folder}')
            for name, size in SIZES.items():
                if folder in ('a/deep', 'gone') and size > 100_000:
                    continue
                number += 1
                path = f'{base}/{top}/{folder}/{name}'
                with open(path, 'wb') as f:
                    f.write(content(number, 0, 0, size))
                os.chmod(path, rng.choice([0o644, 0o600, 0o755]))
                os.chown(path, rng.choice([0, 1000]), rng.choice([0, 1000]))
        os.link(f'{base}/{top}/a/linked', f'{base}/{top}/b/second')
        os.link(f'{base}/{top}/a/linked', f'{base}/{top}/b/third')
        os.symlink('a/page', f'{base}/{top}/symlink')
        os.setxattr(f'{base}/{top}/a/odd', 'user.note', b'from the template')
        with open(f'{base}/{top}/b/sparse', 'wb') as f:
            f.truncate(1_500_000)
            f.seek(800_000)
            f.write(content(number + 1, 0, 800_000, 50_000))
        number += 1
        with sqlite3.connect(f'{base}/{top}/rows.sqlite') as database:
            database.execute('CREATE TABLE rows (number INTEGER PRIMARY KEY, value BLOB)')
            database.executemany('INSERT INTO rows VALUES (?, ?)', ((i, row(i)) for i in range(1, 101)))
        database.close()
    for folder, folders, names in os.walk(base, topdown=False):
        for name in (*folders, *names):
            os.utime(os.path.join(folder, name), ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)


def row(number):
    return struct.pack('<Q', number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) * 40
