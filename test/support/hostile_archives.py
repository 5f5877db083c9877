#!/usr/bin/env python3
"""Writes archives that a hostile or a clumsy user would bring: hostile_archives.py FOLDER"""
import gzip
import io
import os
import sys
import tarfile

folder = sys.argv[1]


def member(name, data=b'', **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def write(file, *members, mode='w'):
    with tarfile.open(os.path.join(folder, file), mode, format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))


def link(name, target, type=tarfile.SYMTYPE):
    return member(name, type=type, linkname=target)


fine = member('etc/fine', b'fine\n')
write('parent.tar', fine, member('../../evil', b'evil'))
write('parent-inside.tar', fine, member('etc/../../evil', b'evil'))
write('below-symlink.tar', link('out', '/tmp'), member('out/evil', b'evil'))
write('below-own-symlink.tar', member('real/x', b'x'), link('way', 'real'), member('way/evil', b'evil'))
write('link-outside.tar', link('passwd', '../../../etc/passwd', tarfile.LNKTYPE))
write('link-to-nothing.tar', link('a', 'b', tarfile.LNKTYPE))
write('below-file.tar', member('a', b'a file'), member('a/b', b'below it'))
write('long-name.tar', member('n' * 300, b'x'))
write('many-bytes.tar', *[member(f'usr/share/f{i}', os.urandom(100_000)) for i in range(20)])

with open(os.path.join(folder, 'many-bytes.tar'), 'rb') as f:
    whole = f.read()
with open(os.path.join(folder, 'truncated.tar'), 'wb') as f:
    f.write(whole[:len(whole) * 2 // 3 + 100])
with open(os.path.join(folder, 'truncated.tar.gz'), 'wb') as f:
    f.write(gzip.compress(whole, 1)[:-5000])
with open(os.path.join(folder, 'bad-checksum.tar'), 'wb') as f:
    f.write(whole[:5] + b'!' + whole[6:])
with open(os.path.join(folder, 'garbage-in-gzip.tar.gz'), 'wb') as f:
    packed = bytearray(gzip.compress(whole, 1))
    packed[len(packed) // 2] ^= 0xff
    f.write(packed)
with open(os.path.join(folder, 'text.tar'), 'w') as f:
    f.write('this is no archive\n' * 100)
with open(os.path.join(folder, 'empty.tar'), 'wb') as f:
    pass

# A bomb: a few megabytes that unpack to many gigabytes.
with gzip.open(os.path.join(folder, 'bomb.tar.gz'), 'wb', 1) as out:
    info, _ = member('bomb')
    info.size = 2 << 30
    out.write(info.tobuf(tarfile.GNU_FORMAT))
    for _ in range(2 << 10):
        out.write(bytes(1 << 20))
    out.write(bytes(1024))

# Odd, but with a safe meaning that GNU tar gives them as well.
write('odd.tar', member('/absolute', b'absolute'), member('./twice', b'first'), member('twice', b'second'),
      link('was-a-link', '/tmp'), member('was-a-link', b'now a file'), link('escape', '../../../../etc'))
