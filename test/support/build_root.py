#!/usr/bin/env python3
"""Makes a small root that holds every kind of thing a root can hold: build_root.py FOLDER

It has a static busybox, so that it can be entered. Everything in it is the same each time but for the times of today
that nothing sets: none are left.
"""
import os
import random
import shutil
import socket
import stat
import struct
import sys

base = sys.argv[1]
rng = random.Random(1)
stamp = [1_000_000_000]


def touch(path):
    """Another time for each file, with nanoseconds."""
    stamp[0] += 1
    ns = stamp[0] * 10**9 + rng.randrange(10**9)
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


def put(path, data=b'', mode=0o644, uid=0, gid=0):
    full = os.path.join(os.fsencode(base), os.fsencode(path))
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, 'wb') as f:
        f.write(data)
    os.chown(full, uid, gid)
    os.chmod(full, mode)
    return full


def folder(path, mode=0o755, uid=0, gid=0):
    full = os.path.join(base, path)
    os.makedirs(full, exist_ok=True)
    os.chown(full, uid, gid)
    os.chmod(full, mode)
    return full


def acl(*entries):
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', tag, perm, who & 0xffffffff) for tag, perm, who in entries)


os.makedirs(base, exist_ok=True)
for name in ('proc', 'sys', 'dev', 'run', 'root', 'home', 'srv', 'mnt', 'empty'):
    folder(name)
folder('tmp', 0o1777)

# A system that can be entered.
put('bin/busybox', open('/usr/bin/busybox' if os.path.exists('/usr/bin/busybox') else '/bin/busybox', 'rb').read(), 0o755)
for name in ('sh', 'cat', 'ls', 'echo', 'sleep', 'id', 'sync'):
    os.symlink('busybox', os.path.join(base, 'bin', name))
put('etc/passwd', b'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n')
put('etc/group', b'root:x:0:\nuser:x:1000:\n')
put('etc/hosts', b'127.0.0.1 localhost\n')

# Sizes around the borders of pages and blocks; contents that several files share.
for top in ('usr/lib', 'data'):
    for size in (0, 1, 15, 4095, 4096, 4097, 65536, 1_000_003):
        put(f'{top}/size-{size}', rng.randbytes(size))
    put(f'{top}/same-1', b'the same content\n' * 500)
    put(f'{top}/same-2', b'the same content\n' * 500)
    put(f'{top}/file', b'from the template\n')
    put(f'{top}/other', b'another file of the template\n')
    folder(f'{top}/folder/deeper/deepest')
    put(f'{top}/folder/inner', b'inner\n')
    put(f'{top}/folder/deeper/deepest/leaf', b'leaf\n')
    # Hard links, in one folder and across two.
    put(f'{top}/hard-a', b'one file with three names\n')
    os.link(f'{base}/{top}/hard-a', f'{base}/{top}/hard-b')
    os.link(f'{base}/{top}/hard-a', f'{base}/{top}/folder/hard-c')
    os.symlink('file', f'{base}/{top}/symlink')
    os.symlink('/nowhere/' + 'x' * 200, f'{base}/{top}/dangling')
    os.link(f'{base}/{top}/dangling', f'{base}/{top}/dangling-2', follow_symlinks=False)
    with open(f'{base}/{top}/sparse', 'wb') as f:
        f.truncate(8 << 20)
        f.seek(3_000_001)
        f.write(b'in the middle of a hole')
    for i in range(300):
        put(f'{top}/many/entry-{i:04}', b'entry %d\n' % (i // 3))

# Owners and modes.
put('usr/bin/set-user', b'#!/bin/sh\n', 0o4755)
put('usr/bin/set-group', b'#!/bin/sh\n', 0o2755, 0, 42)
put('home/private', b'secret\n', 0o600, 1000, 1000)
put('home/nobody-may', b'', 0o000, 65534, 65534)
put('home/large-owner', b'x', 0o640, 4_000_000_000, 3_000_000_000)
folder('srv/group', 0o2775, 1000, 1001)
folder('srv/closed', 0o700, 1000, 1001)

# Devices and the rest.
for name, kind, device in (('null', stat.S_IFCHR, (1, 3)), ('disk', stat.S_IFBLK, (259, 300)), ('large', stat.S_IFCHR, (4000, 900_000))):
    os.mknod(f'{base}/dev/{name}', kind | 0o660, os.makedev(*device))
os.mkfifo(f'{base}/run/fifo', 0o600)
os.link(f'{base}/dev/disk', f'{base}/dev/disk-2')

# Odd names.
for name in (b'with space', b'new\nline', b'not-\xff\xfe-utf8', 'ünïcödé'.encode(), b'back\\slash', b'percent%20', b'-dash', b"quote'\"", b'tab\there', b'n' * 255, b'.hidden', b'..two-dots'):
    put(b'srv/odd/' + name, b'name: ' + name)
deep = '/'.join(['d' * 60] * 25)
put(f'srv/{deep}/end', b'far down\n')

# Extended attributes.
os.setxattr(put('usr/bin/capable', b'#!/bin/sh\n', 0o755), 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10 | 1 << 13, 0, 0, 0))
full = put('data/annotated', b'annotated\n')
os.setxattr(full, 'user.note', b'a note')
os.setxattr(full, 'user.binary', bytes(range(256)))
os.setxattr(full, 'user.empty', b'')
os.setxattr(full, 'trusted.for-root', b'only root sees this')
os.setxattr(put('data/large-xattr', b'x'), 'user.large', rng.randbytes(3000))
os.setxattr(folder('srv/annotated'), 'user.folder', b'on a folder')
full = put('data/acl', b'acl\n', 0o640)
os.setxattr(full, 'system.posix_acl_access', acl((1, 6, -1), (2, 7, 1000), (4, 4, -1), (8, 5, 1001), (16, 7, -1), (32, 0, -1)))
full = folder('srv/acl', 0o750)
os.setxattr(full, 'system.posix_acl_access', acl((1, 7, -1), (2, 5, 1000), (4, 5, -1), (16, 5, -1), (32, 0, -1)))
os.setxattr(full, 'system.posix_acl_default', acl((1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 0, -1)))

if '--socket' in sys.argv:
    here = os.getcwd()
    os.chdir(f'{base}/run')
    socket.socket(socket.AF_UNIX).bind('socket')
    os.chdir(here)

for parent, folders, files in os.walk(os.fsencode(base), topdown=False):
    for name in sorted(files + folders):
        touch(os.path.join(parent, name))
touch(base)
# Times at the edges: before 1970, after 2038, the last nanosecond of a second.
for name, ns in (('size-1', -1_234_567_891), ('size-15', 5_000_000_000 * 10**9 + 1), ('size-4095', 999_999_999), ('size-0', 0)):
    os.utime(f'{base}/usr/lib/{name}', ns=(ns, ns))
