"""The hierarchy both sides start from.

`usr` and `data` hold the same: the first lies on a shared path of the container's settings, the second does not, and
the engine opens their files in different ways. `own0` to `own4` belong to one actor each in the concurrent phase.
"""
import os
import random
import shutil
import socket
import stat
import subprocess

TOPS = ('usr', 'data')
OWN_FOLDERS = 5
LONG_NAME = 'n' * 255
BUSYBOX = '/bin/busybox'
MODES = (0o644, 0o600, 0o755, 0o4755, 0o2755, 0o666)
CAPABILITY = bytes.fromhex('0100000200040000000000000000000000000000')  # cap_net_bind_service=ep


def build(base):
    rng = random.Random(7)
    for top in TOPS:
        for folder in ('a', 'b', 'a/deep', 'a/deep/er', *(f'own{i}/{sub}' for i in range(OWN_FOLDERS) for sub in ('a', 'b'))):
            for i in range(4):
                size = rng.choice([0, 1, 100, 4096, 9000, 70000])
                put(base, f'{top}/{folder}/f{i}', rng.randbytes(size), rng.choice(MODES), rng.choice([0, 1000]), rng.choice([0, 1000, 1001]))
        _fill(f'{base}/{top}')
        _put_blocks(base, top, rng)
        for folder in ('b', *(f'own{i}' for i in range(OWN_FOLDERS)), *(f'own{i}/a' for i in range(OWN_FOLDERS))):
            os.chmod(f'{base}/{top}/{folder}', 0o777)
    put(base, 'records', b'', 0o666)
    os.chmod(base, 0o755)
    for folder, folders, _files in os.walk(base):
        for path in (os.path.join(folder, name) for name in folders):
            if not os.path.islink(path):
                os.utime(path, ns=(10**18, 10**18 + 5))
    os.utime(base, ns=(10**18, 10**18 + 5))


def put(base, path, data, mode=0o644, uid=0, gid=0):
    full = os.path.join(base, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, 'wb') as f:
        f.write(data)
    os.chown(full, uid, gid)
    os.chmod(full, mode)
    os.utime(full, ns=(10**18 + len(path), 10**18 + len(path) * 7))


def _fill(top):
    for old, new in (('a/f0', 'a/hard0'), ('a/f0', 'b/hard0'), ('a/f1', 'b/hard1')):
        os.link(f'{top}/{old}', f'{top}/{new}')
    for target, name in (('f0', 'a/sym'), ('nowhere', 'b/dangling'), ('a/deep', 'through'), ('loop2', 'loop1'), ('loop1', 'loop2'), ('..', 'a/up')):
        os.symlink(target, f'{top}/{name}')
    os.link(f'{top}/b/dangling', f'{top}/b/dangling2', follow_symlinks=False)
    os.mkfifo(f'{top}/a/fifo', 0o640)
    os.mknod(f'{top}/b/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as node:
        os.chdir(f'{top}/b')
        node.bind('sock')
        os.chdir('/')
    for folder, mode in (('empty', 0o755), ('sgid', 0o2777), ('sticky', 0o1777), ('acl', 0o777)):
        os.mkdir(f'{top}/{folder}')
        if folder == 'sgid':
            os.chown(f'{top}/sgid', 1000, 1001)
        os.chmod(f'{top}/{folder}', mode)
    subprocess.run(['setfacl', '-m', 'd:u:1000:rwx,d:g:1001:r-x,d:o:---,u:1001:rwx', f'{top}/acl'], check=True)
    put(top, 'acl/kept', b'with acl')
    os.setxattr(f'{top}/a/f2', 'user.note', b'from the template')
    os.setxattr(f'{top}/a', 'trusted.note', b'folder')
    os.setxattr(f'{top}/a/deep/f1', 'security.capability', CAPABILITY)
    put(top, f'b/{LONG_NAME}', b'long name')
    put(top, 'b/odd \n\xe9name', b'odd name')
    with open(f'{top}/b/sparse', 'wb') as f:
        f.truncate(1 << 20)
        f.seek(300000)
        f.write(b'in the middle')


def _put_blocks(base, top, rng):
    """What is large enough to be copied up block by block: whole, with a torn last block, sparse, all hole."""
    put(base, f'{top}/blocks/big', rng.randbytes(1_500_000), 0o666)
    put(base, f'{top}/blocks/edge', rng.randbytes((1 << 20) + 4096), 0o644, 1000, 1001)
    put(base, f'{top}/blocks/hole', b'', 0o666)
    os.truncate(f'{base}/{top}/blocks/hole', 3_000_001)
    put(base, f'{top}/blocks/sparse', b'', 0o4777)
    with open(f'{base}/{top}/blocks/sparse', 'r+b') as f:
        for at in (0, 65536 - 10, 700_001, 1_900_000):
            f.seek(at)
            f.write(rng.randbytes(9000))
        f.truncate(2_500_000)
    os.chmod(f'{base}/{top}/blocks/sparse', 0o4777)
    os.link(f'{base}/{top}/blocks/big', f'{base}/{top}/blocks/hardbig')
    shutil.copy(BUSYBOX, f'{base}/{top}/blocks/prog')
    os.chmod(f'{base}/{top}/blocks/prog', 0o755)
    put(base, f'{top}/blocks/script', b'#!/bin/sh\nexit 3\n', 0o755)
    os.chmod(f'{base}/{top}/blocks', 0o777)
