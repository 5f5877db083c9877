import * as fs from 'node:fs';
import { constants } from 'node:os';
import Fuse, { type FuseOperations } from 'fuse-native';

/*
 * node pass-through-daemon.js FOLDER MOUNTPOINT: shows a folder at a mount point, by the npm package fuse-native. This is the
 * design that one would write first: each call of the kernel becomes one call of node:fs. It knows neither who calls nor xattrs.
 */

const [folder = '', mountpoint = ''] = process.argv.slice(2);
const at = (path: string): string => folder + path;

function errnoOf(error: NodeJS.ErrnoException): number {
  return error.errno ?? -constants.errno.EIO;
}

/** Answers with a value, or with an errno. */
function answer<T>(done: (error: number, value?: T) => void): (error: NodeJS.ErrnoException | null, value?: T) => void {
  return (error, value) => {
    if (error !== null) done(errnoOf(error));
    else done(0, value);
  };
}

/** Answers reads and writes: fuse-native takes how many bytes it were in place of the error. */
function answerBytes(done: (bytesOrError: number) => void): (error: NodeJS.ErrnoException | null, bytes: number) => void {
  return (error, bytes) => {
    done(error === null ? bytes : errnoOf(error));
  };
}

/** node:fs takes flags as open(2) has them; O_DIRECT would need aligned buffers. */
const OPEN_FLAGS = fs.constants.O_WRONLY | fs.constants.O_RDWR | fs.constants.O_APPEND | fs.constants.O_TRUNC;

const operations: FuseOperations = {
  getattr: (path, done) => { fs.lstat(at(path), answer(done)); },
  readdir: (path, done) => {
    fs.readdir(at(path), answer((error, names?: readonly string[]) => { done(error, ['.', '..', ...(names ?? [])]); }));
  },
  readlink: (path, done) => { fs.readlink(at(path), answer(done)); },
  open: (path, flags, done) => { fs.open(at(path), flags & OPEN_FLAGS, answer(done)); },
  create: (path, mode, done) => { fs.open(at(path), 'wx+', mode, answer(done)); },
  read: (_path, fd, buffer, length, position, done) => { fs.read(fd, buffer, 0, length, position, answerBytes(done)); },
  write: (_path, fd, buffer, length, position, done) => { fs.write(fd, buffer, 0, length, position, answerBytes(done)); },
  release: (_path, fd, done) => { fs.close(fd, answer(done)); },
  fsync: (_path, datasync, fd, done) => { (datasync === 0 ? fs.fsync : fs.fdatasync)(fd, answer(done)); },
  truncate: (path, size, done) => { fs.truncate(at(path), size, answer(done)); },
  ftruncate: (_path, fd, size, done) => { fs.ftruncate(fd, size, answer(done)); },
  utimens: (path, atimeMs, mtimeMs, done) => { fs.lutimes(at(path), atimeMs / 1000, mtimeMs / 1000, answer(done)); },
  chown: (path, uid, gid, done) => { fs.lchown(at(path), uid, gid, answer(done)); },
  chmod: (path, mode, done) => { fs.chmod(at(path), mode & 0o7777, answer(done)); },
  mkdir: (path, mode, done) => { fs.mkdir(at(path), mode, answer(done)); },
  rmdir: (path, done) => { fs.rmdir(at(path), answer(done)); },
  unlink: (path, done) => { fs.unlink(at(path), answer(done)); },
  rename: (from, to, done) => { fs.rename(at(from), at(to), answer(done)); },
  link: (from, to, done) => { fs.link(at(from), at(to), answer(done)); },
  symlink: (target, path, done) => { fs.symlink(target, at(path), answer(done)); },
};

process.umask(0); // the kernel has applied the caller's
new Fuse(mountpoint, operations, { allowOther: true, defaultPermissions: true, timeout: false }).mount((error) => {
  if (error === null) return;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
