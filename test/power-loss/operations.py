"""Operations on a root: how each is done, and what it does to the model.

A sequence is drawn from a seed while it is done, because each operation needs names that are there.
"""
import errno
import mmap
import os
import stat

from merge_request import request_merge
from model import parent
from syscalls import AT_FDCWD, AT_SYMLINK_FOLLOW, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, RENAME_EXCHANGE, fallocate, linkat, renameat2
from template import content

NEW_FILE = 1000  # numbers of files in contents: those of the template are below
ALL = 1 << 62
CUT_ERRORS = (errno.EIO, errno.EROFS, errno.ENOTCONN, errno.ECONNABORTED, errno.EUCLEAN)
FALLOCATE = {'allocate': 0, 'keep': FALLOC_KEEP_SIZE, 'punch': FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 'zero': FALLOC_ZERO_RANGE}
WRITE_FLAGS = {'': 0, 'O_DSYNC': os.O_DSYNC, 'O_SYNC': os.O_SYNC}
BROKEN = [None]  # an operation that is said to be done and is not: does the test find it?


def draw(rng, model, number, planned):
    """The next operation; `planned` holds those that a former one asked for."""
    if planned:
        return planned.pop(0)
    weights = {
        'write': 14, 'append': 4, 'truncate': 4, 'open_write': 5, 'open_truncate': 3, 'fallocate': 4, 'store': 6, 'create': 7, 'mkdir': 3,
        'symlink': 1, 'mknod': 1, 'rename': 7, 'exchange': 2, 'link': 3, 'unlink': 4, 'rmdir': 1, 'chmod': 4, 'chown': 3, 'setxattr': 3,
        'removexattr': 1, 'tmpfile': 3, 'replace': 4, 'fsync': 8, 'fdatasync': 8, 'fsync_folder': 3, 'rename_folder': 3,
        'copy': 6, 'merge': 6,
    }
    for _ in range(50):
        kind = rng.choices(list(weights), list(weights.values()))[0]
        op = draw_one(rng, model, number, kind, planned)
        if op is not None:
            return op
    raise RuntimeError('nothing can be drawn')


def draw_one(rng, model, number, kind, planned):
    files = model.paths(stat.S_IFREG)
    files = [path for path in files if not path.endswith('.sqlite')]
    folders = model.paths(stat.S_IFDIR)
    inner = [path for path in folders if '/' in path]
    new = f'{rng.choice([f for f in folders if f])}/n{number}'
    if not files:
        return None
    # Often again the one that was just worked on: that is where steps follow one another.
    path = model.recent if model.recent in model.names and model.recent in files and rng.random() < 0.6 else rng.choice(files)
    size = len(model.names[path].data)
    op = {'op': kind, 'path': path}
    if kind in ('write', 'append', 'store'):
        length = rng.choice([1, 100, 512, 4096, 4097, 10_000, 66_000])
        offset = size if kind == 'append' else rng.choice([0, rng.randrange(size + 1), max(size - 10, 0), rng.randrange(size + 1) // 4096 * 4096])
        if kind == 'store':
            if size == 0:
                return None
            offset = min(offset, size - 1)
            return op | {'offset': offset, 'length': min(length, size - offset), 'sync': rng.random() < 0.5}
        return op | {'op': 'write', 'offset': offset, 'length': length, 'flag': rng.choice(['', '', '', 'O_DSYNC', 'O_SYNC'])}
    if kind == 'truncate':
        return op | {'size': rng.choice([0, rng.randrange(size + 1), size, size + rng.randrange(100_000)])}
    if kind in ('open_write', 'open_truncate', 'fsync', 'fdatasync', 'unlink'):
        return op
    if kind == 'fallocate':
        mode = rng.choice(list(FALLOCATE))
        return op | {'mode': mode, 'offset': rng.randrange(size + 5000), 'length': rng.choice([1, 5000, 100_000])}
    if kind in ('create', 'mkdir', 'mknod', 'symlink'):
        return {'op': kind, 'path': new, 'mode': rng.choice([0o644, 0o600, 0o755])}
    if kind == 'tmpfile':
        return {'op': kind, 'path': new, 'length': rng.choice([0, 100, 9000, 66_000]), 'sync': rng.random() < 0.5}
    if kind == 'replace':
        planned += [
            {'op': 'write', 'path': new, 'offset': 0, 'length': rng.choice([10, 4096, 70_000]), 'flag': ''}, {'op': 'fsync', 'path': new},
            {'op': 'rename', 'path': new, 'to': path},
        ]
        if rng.random() < 0.5:
            planned.append({'op': 'fsync_folder', 'path': parent(path)})
        return {'op': 'create', 'path': new, 'mode': 0o644}
    if kind == 'copy':
        # What others have, as after an upgrade: it becomes a link, before it is durable or after.
        source = rng.choice([inode.number for inode in model.inodes if inode.versions and inode.versions[0][1] in model.objects])
        planned += [{'op': 'fsync', 'path': new}] * (rng.random() < 0.5) + [{'op': 'merge', 'path': new}]
        planned += [{'op': rng.choice(['fsync', 'fdatasync']), 'path': new}] * (rng.random() < 0.4)
        return {'op': kind, 'path': new, 'source': source}
    if kind == 'merge':
        known = [p for p in files if model.names[p].data in model.objects]
        # Those of the template are no private files before they are opened for writing.
        path = rng.choice(known) if known else path
        planned.append({'op': kind, 'path': path})
        return {'op': 'open_write', 'path': path}
    if kind == 'rename':
        to = rng.choice([new, new, rng.choice(files)])
        return None if model.names.get(to) is model.names[path] else op | {'to': to}
    if kind == 'rename_folder':
        if not inner:
            return None
        path = rng.choice(inner)
        empty = [f for f in inner if not model.below(f) and f != path and not f.startswith(path + '/')]
        to = rng.choice(empty) if empty and rng.random() < 0.3 else new
        return None if to.startswith(path + '/') or path.startswith(to + '/') else {'op': 'rename', 'path': path, 'to': to}
    if kind == 'exchange':
        names = [p for p in model.names if '/' in p and not p.endswith('.sqlite')]
        path, to = rng.choice(names), rng.choice(names)
        if model.names[path] is model.names[to] or path.startswith(to + '/') or to.startswith(path + '/'):
            return None
        return {'op': kind, 'path': path, 'to': to}
    if kind == 'link':
        return op | {'to': new}
    if kind == 'rmdir':
        empty = [f for f in inner if not model.below(f)]
        return {'op': kind, 'path': rng.choice(empty)} if empty else None
    if kind == 'fsync_folder':
        return {'op': kind, 'path': rng.choice([f for f in folders if f])}
    target = rng.choice([path, path, rng.choice([f for f in folders if f])])
    if kind == 'chmod':
        return {'op': kind, 'path': target, 'mode': rng.choice([0o600, 0o640, 0o700, 0o755, 0o777])}
    if kind == 'chown':
        return {'op': kind, 'path': target, 'uid': rng.choice([0, 1, 1000]), 'gid': rng.choice([0, 5, 1000])}
    if kind == 'setxattr':
        return {'op': kind, 'path': target, 'name': f'user.x{rng.randrange(3)}', 'value': b'%d-' % number + bytes(rng.choice([0, 10, 200]))}
    if kind == 'removexattr':
        held = [name for name, _value in model.names[target].entry[4]]
        return {'op': kind, 'path': target, 'name': rng.choice(held)} if held else None
    raise RuntimeError(f'no operation {kind}')


def piece_of(model, number, op):
    """What a write of this operation writes."""
    return content(NEW_FILE + model.names[op['path']].number, number, op['offset'], op['length'])


def perform(base, model, number, op):
    """Does it on the root. @returns what the log keeps of it"""
    if op['op'] == BROKEN[0]:
        return {}
    path = f'{base}/{op["path"]}'
    match op['op']:
        case 'create':
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, op['mode'])
            ino = os.fstat(fd).st_ino
            os.close(fd)
            return {'ino': ino}
        case 'mkdir':
            os.mkdir(path, op['mode'])
            return {'ino': os.stat(path).st_ino}
        case 'mknod':
            os.mkfifo(path, op['mode'])
        case 'symlink':
            os.symlink('target', path)
        case 'write':
            with_fd(path, os.O_WRONLY | WRITE_FLAGS[op['flag']], lambda fd: write_all(fd, piece_of(model, number, op), op['offset']))
        case 'store':
            with_fd(path, os.O_RDWR, lambda fd: store(fd, piece_of(model, number, op), op['offset'], op['sync']))
        case 'truncate':
            os.truncate(path, op['size'])
        case 'open_write':
            with_fd(path, os.O_RDWR, lambda fd: None)
        case 'open_truncate':
            with_fd(path, os.O_WRONLY | os.O_TRUNC, lambda fd: None)
        case 'fallocate':
            with_fd(path, os.O_WRONLY, lambda fd: fallocate(fd, FALLOCATE[op['mode']], op['offset'], op['length']))
        case 'fsync':
            with_fd(path, os.O_RDONLY, os.fsync)
        case 'fdatasync':
            with_fd(path, os.O_RDONLY, os.fdatasync)
        case 'fsync_folder':
            with_fd(path, os.O_RDONLY | os.O_DIRECTORY, os.fsync)
        case 'rename':
            os.rename(path, f'{base}/{op["to"]}')
        case 'exchange':
            renameat2(path, f'{base}/{op["to"]}', RENAME_EXCHANGE)
        case 'link':
            os.link(path, f'{base}/{op["to"]}')
        case 'unlink':
            os.unlink(path)
        case 'rmdir':
            os.rmdir(path)
        case 'chmod':
            os.chmod(path, op['mode'])
        case 'chown':
            os.chown(path, op['uid'], op['gid'])
        case 'setxattr':
            os.setxattr(path, op['name'], op['value'])
        case 'removexattr':
            os.removexattr(path, op['name'])
        case 'tmpfile':
            return make_unnamed(path, number, op)
        case 'copy':
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                write_all(fd, model.inodes[op['source']].versions[0][1], 0)
                return {'ino': os.fstat(fd).st_ino}
            finally:
                os.close(fd)
        case 'merge':
            return {'answer': merge(base, model, op)}
    return {}


def merge(base, model, op):
    """Merges with the object of its content, or with that of another. A story says which answer it wants."""
    data = model.names[op['path']].data
    status = os.stat(f'{base}/{op["path"]}')
    obj = model.objects.get(data) or next(iter(model.objects.values()))
    try:
        answer = request_merge(os.path.dirname(os.path.dirname(base)), os.path.basename(base), status, f'/{op["path"]}', obj)
    except ConnectionError as error:
        raise OSError(errno.ENOTCONN, str(error)) from error
    if answer.startswith('failed'):
        code = next((code for code in CUT_ERRORS if answer == f'failed {os.strerror(code)}'), None)
        if code is None:
            raise RuntimeError(f'merging {op["path"]}: {answer}')
        raise OSError(code, answer)
    if answer.split(' ')[0] in ('merged', 'kept') and data not in model.objects:
        raise RuntimeError(f'{op["path"]} was merged with what it is not equal to')
    if 'answer' in op and answer.split(' ')[0] != op['answer']:
        raise RuntimeError(f'merging {op["path"]}: {answer}, and not {op["answer"]}')
    return answer


def with_fd(path, flags, use):
    fd = os.open(path, flags)
    try:
        use(fd)
    finally:
        os.close(fd)


def write_all(fd, data, offset):
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def store(fd, data, offset, sync):
    with mmap.mmap(fd, os.fstat(fd).st_size) as mapped:
        mapped[offset:offset + len(data)] = data
        if sync:
            mapped.flush()


def make_unnamed(path, number, op):
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY, 0o600)
    try:
        write_all(fd, content(NEW_FILE, number, 0, op['length']), 0)
        if op['sync']:
            os.fsync(fd)
        linkat(AT_FDCWD, f'/proc/self/fd/{fd}', path, AT_SYMLINK_FOLLOW)
        return {'ino': os.fstat(fd).st_ino}
    finally:
        os.close(fd)


def resized(data, size):
    return data[:size] + bytes(max(size - len(data), 0))


def overwritten(data, offset, piece):
    return resized(data, max(len(data), offset))[:offset] + piece + data[offset + len(piece):]


def apply(model, number, op, result):
    """Does it to the model, as operation `number`. @returns what may be half made while it runs: see `check`"""
    loose = {'mixed': False, 'undressed': set(), 'counts': set()}
    path = op['path']
    inode = model.names.get(path)
    folder = model.names[parent(path)]
    if inode is not None and len([p for p, other in model.names.items() if other is inode]) > 1:
        loose['counts'].add(inode.number)
    kind = op['op']
    model.recent = op.get('to', path)
    if kind in ('create', 'mkdir', 'mknod', 'symlink', 'tmpfile', 'copy'):
        types = {'create': stat.S_IFREG, 'copy': stat.S_IFREG, 'tmpfile': stat.S_IFREG, 'mkdir': stat.S_IFDIR, 'mknod': stat.S_IFIFO, 'symlink': stat.S_IFLNK}
        mode = {'symlink': 0o777, 'tmpfile': 0o600, 'copy': 0o644}.get(kind, op.get('mode'))
        data = b'' if types[kind] == stat.S_IFREG else None
        made = model.add(path, (types[kind], mode, 0, 0, (), 'target' if kind == 'symlink' else None, 0), data, number)
        made.ino = result.get('ino')
        if kind == 'tmpfile':
            made.versions.append((number, content(NEW_FILE, number, 0, op['length'])))
            if op['sync']:
                sync_data(made, number)
        if kind == 'copy':
            made.versions.append((number, model.inodes[op['source']].versions[0][1]))
        folder.names_touched = number
        loose['undressed'].add(path)
    elif kind in ('write', 'store', 'truncate', 'open_truncate', 'fallocate'):
        change_content(model, number, op, inode)
    elif kind == 'open_write':
        # While its content is copied it has another mtime, which is put back; after a power loss it may have that one.
        inode.times_kept = False
    elif kind in ('fsync', 'fdatasync'):
        sync_data(inode, number)
        model.durable = max(model.durable, inode.touched if kind == 'fsync' else inode.made)
    elif kind == 'fsync_folder':
        model.durable = max(model.durable, inode.touched, inode.names_touched)
    elif kind == 'rename':
        replaced = model.names.get(op['to'])
        if replaced is not None:
            replaced.touched = number
            loose['counts'].add(replaced.number)
        moved = {name: model.names.pop(name) for name in [path, *model.below(path)]}
        model.names.update({op['to'] + name[len(path):]: other for name, other in moved.items()})
        inode.touched = folder.names_touched = model.names[parent(op['to'])].names_touched = number
    elif kind == 'exchange':
        other, to = model.names[op['to']], op['to']
        here = {name: model.names.pop(name) for name in [path, *model.below(path)]}
        there = {name: model.names.pop(name) for name in [to, *model.below(to)]}
        model.names.update({to + name[len(path):]: moved for name, moved in here.items()})
        model.names.update({path + name[len(to):]: moved for name, moved in there.items()})
        loose['counts'].add(other.number)
        inode.touched = other.touched = folder.names_touched = model.names[parent(to)].names_touched = number
    elif kind == 'link':
        loose['counts'].add(inode.number)
        model.names[op['to']] = inode
        inode.touched = model.names[parent(op['to'])].names_touched = number
    elif kind in ('unlink', 'rmdir'):
        del model.names[path]
        inode.touched = folder.names_touched = number
    elif kind in ('chmod', 'chown', 'setxattr', 'removexattr'):
        change_entry(inode, op)
        inode.touched = number
    model.commit()
    return loose


def sync_data(inode, number):
    inode.durable.append((number, 0, ALL))
    inode.size_durable = number


def change_entry(inode, op):
    kind, mode, uid, gid, xattrs, target, rdev = inode.entry
    if op['op'] == 'chmod':
        mode = op['mode']
    elif op['op'] == 'chown':
        uid, gid = op['uid'], op['gid']
    else:
        values = dict(xattrs)
        values.pop(op['name'], None)
        if op['op'] == 'setxattr':
            values[op['name']] = op['value']
        xattrs = tuple(sorted(values.items()))
    inode.entry = (kind, mode, uid, gid, xattrs, target, rdev)


def change_content(model, number, op, inode):
    inode.times_kept = False
    data = inode.data
    if op['op'] in ('write', 'store'):
        changed = overwritten(data, op['offset'], piece_of(model, number, op))
    elif op['op'] == 'truncate':
        changed = resized(data, op['size'])
    elif op['op'] == 'open_truncate':
        changed = b''
    else:
        end = op['offset'] + op['length']
        changed = data
        if op['mode'] in ('punch', 'zero'):
            last = min(end, len(data))
            changed = data[:op['offset']] + bytes(max(last - op['offset'], 0)) + data[max(last, op['offset']):]
        if op['mode'] in ('allocate', 'zero'):
            changed = resized(changed, max(len(data), end))
    inode.versions.append((number, changed))
    if op['op'] == 'store' and op['sync']:
        sync_data(inode, number)
    if op.get('flag'):
        # What it writes is durable, and nothing else of the file need be.
        end = op['offset'] + op['length']
        inode.durable.append((number, op['offset'], end))
        if end >= len(data):
            inode.size_durable = number


def is_of_the_cut(error):
    return error.errno in CUT_ERRORS
