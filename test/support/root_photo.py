"""What a whole root looks like, to be compared with what it looked like at other times: names, metadata, contents."""
import hashlib
import os
import stat

FIELDS = ('type', 'mode', 'uid', 'gid', 'xattrs', 'target', 'device', 'links', 'inode number', 'mtime', 'size', 'content')


def photograph(base):
    """path → one value for each of FIELDS"""
    photo = {}
    folders = ['']
    while folders:
        folder = folders.pop()
        photo[folder] = look_at(f'{base}/{folder}' if folder else base)
        for entry in os.scandir(f'{base}/{folder}'):
            path = f'{folder}/{entry.name}' if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                photo[path] = look_at(f'{base}/{path}')
    return photo


def look_at(path):
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    xattrs = tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in os.listxattr(path, follow_symlinks=False)))
    size = digest = None
    if kind == stat.S_IFREG:
        size = status.st_size
        with open(path, 'rb') as f:
            digest = hashlib.sha256(f.read()).hexdigest()
    target = os.readlink(path) if kind == stat.S_IFLNK else None
    # Folders count names below them, on some file systems.
    links = None if kind == stat.S_IFDIR else status.st_nlink
    return (kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, xattrs, target, status.st_rdev, links, status.st_ino, status.st_mtime_ns, size, digest)


def differences(found, references, ignored=()):
    """What differs from all of `references`. What differs between those (times, logs, what is drawn by chance) is not compared.

    @returns lines that say what
    """
    first, *others = references
    lines = []
    for path in sorted(found.keys() | first.keys()):
        if any((path in first) != (path in other) for other in others):
            continue
        has, wanted = found.get(path), first.get(path)
        if has is None or wanted is None:
            lines.append(f'/{path} {"came" if wanted is None else "is gone"}')
            continue
        for at, field in enumerate(FIELDS):
            if field in ignored or has[at] == wanted[at] or any(other[path][at] != wanted[at] for other in others):
                continue
            lines.append(f'/{path}: {field} {has[at]} instead of {wanted[at]}')
    return lines
